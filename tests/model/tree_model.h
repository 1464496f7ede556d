// SPDX-License-Identifier: Apache-2.0
//
// TreeModel: what POSIX says of names, in a page of state. Calls are made of steps that are atomic:
// a path is resolved name by name, and what is done in the end is one step more. Whatever an order
// of the steps of concurrent calls gives is right; nothing else is.
//
// Two levels: names in the root, and names in directories of it ("p/a").
// Threads: values.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace airstore::model {

enum class Verb : uint8_t {
  kCreate,
  kMkdir,
  kSymlink,
  kUnlink,
  kRmdir,
  kRename,
  kRenameNoReplace,
  kRenameExchange,
  kLink,
  kStat,
  kChmod,
  kChown,  // the group of that number, too
  kWrite,  // one byte, at the beginning
  kTruncate,
  kRead,
};
constexpr int kVerbs = 15;
const char* NameOf(Verb verb);

struct Call {
  Verb verb = Verb::kStat;
  uid_t caller = 0;  // 0, or a user of no groups but its own of that number
  std::string path;
  std::string path2;
  mode_t mode = 0;  // kCreate, kMkdir, kChmod; kChown: the user
  char byte = 'x';  // kWrite
  std::string Text() const;
};

// What a call came to, as a program sees it.
struct Answer {
  int error = 0;
  // kStat: "type mode links owner size"; kRead: the content.
  std::string seen = {};
  uint64_t inode = 0;  // kStat, kCreate: the file's number, 0: not asked
  std::string Text() const;
};

class TreeModel {
 public:
  struct Rules {
    // The kernel's switches fs.protected_hardlinks and fs.protected_symlinks.
    bool protected_hardlinks = false;
    bool protected_symlinks = false;
    // Whether a call may be made is a step before it is made: a mount's kernel looks at owners and
    // modes, and another mount may change them before the broker makes the call. Nor does a rename
    // find both of its names in one step; a directory that it finds where its kernel does not
    // expect it makes it ESTALE.
    bool checks_apart = false;
  };
  // An empty root of uid 0 with this mode.
  TreeModel(mode_t root_mode, Rules rules);

  // A call under way.
  struct Progress {
    size_t step = 0;
    int directory = -1;
    int node = -1;
    int directory2 = -1;
    bool done = false;
    std::string Key() const;
  };
  // Takes the next step. `real` is what the call came to in reality: file numbers are learnt from
  // it. Once `progress->done`, returns what it comes to here.
  Answer Step(const Call& call, const Answer& real, Progress* progress);
  // All steps at once.
  Answer RunAll(const Call& call, const Answer& real);

  // Equal for equal states.
  std::string Key() const;
  // "path: type mode ...", as Tree() of what is there would be.
  std::map<std::string, std::string> Listing() const;

 private:
  struct Node {
    char type = 'f';  // f, d, l
    mode_t mode = 0;
    uid_t owner = 0;
    uint32_t links = 1;
    std::string content;
    int parent = -1;  // of directories
    bool dead = false;
    uint64_t real = 0;
    std::map<std::string, int> names;
  };

  int Parent(const Call& call, const std::string& path, int* directory) const;
  int Find(int directory, const std::string& name, int* node) const;
  bool May(uid_t caller, const Node& node, mode_t want) const;
  int MayCreate(uid_t caller, int directory) const;
  int MayDelete(uid_t caller, int directory, int node, bool as_directory) const;
  bool IsWithin(int directory, int ancestor) const;
  int Open(const Call& call, int node) const;
  Answer Make(const Call& call, const Answer& real, int directory);
  int Remove(const Call& call, int directory, bool as_directory);
  // What its kernel says of a rename that it has found these for; `node2` < 0: nothing.
  int CheckRename(const Call& call, int directory, int node, int directory2, int node2) const;
  int Rename(const Call& call, int directory, int directory2);
  int Link(const Call& call, int node, int directory);
  int Chown(const Call& call, int node);
  int Chmod(const Call& call, int node);
  Answer Act(const Call& call, const Answer& real, const Progress& progress);
  bool Learn(int node, uint64_t real);
  std::string Describe(const Node& node) const;
  void DropLink(int node);

  std::vector<Node> nodes_;
  Rules rules_;
  bool checks_ = true;
};

}  // namespace airstore::model
