// SPDX-License-Identifier: Apache-2.0
//
// Every call that takes a path, on every way a path can be wrong.
#include <sys/stat.h>
#include <unistd.h>

#include "tests/posix/calls.h"

namespace airstore::posix {
namespace {

constexpr size_t kLongestName = 255;
constexpr size_t kLongestPath = 4095;
constexpr int kMostLinks = 40;

std::string Long(size_t length) { return std::string(length, 'n'); }

// A path of so many bytes to "file": "./././file".
std::string PathOf(size_t length) {
  std::string path = length % 2 == 0 ? "file" : ".//file";
  path.insert(0, length - path.size(), '.');
  for (size_t i = 1; i < length - 4; i += 2) path[i] = '/';
  return path;
}

// "here/here/", where each is a link.
std::string Links(int count) {
  std::string path;
  for (int i = 0; i < count; ++i) path += "here/";
  return path;
}

struct Path {
  std::string name;
  std::string path;
};

const std::vector<Path>& WrongAndRight() {
  static const std::vector<Path> paths{
      {"the empty path", ""},
      {"the working directory", "."},
      {"its parent", ".."},
      {"a file", "file"},
      {"a file with a slash", "file/"},
      {"a file with a dot", "file/."},
      {"a name below a file", "file/x"},
      {"a name below a FIFO", "fifo/x"},
      {"a directory with a slash", "dir/"},
      {"a directory with two slashes", "dir//"},
      {"a directory with a dot", "dir/."},
      {"a directory with two dots", "dir/.."},
      {"two slashes within", "dir//inside"},
      {"nothing", "nothing"},
      {"nothing with a slash", "nothing/"},
      {"a name below nothing", "nothing/x"},
      {"nothing and back", "nothing/../file"},
      {"a file by a link", "link/inside"},
      {"a link with a slash", "link/"},
      {"a link to a file with a slash", "filelink/"},
      {"a link to nothing", "dangling"},
      {"a link to nothing with a slash", "dangling/"},
      {"a name below a link to nothing", "dangling/x"},
      {"a link that goes round", "loop"},
      {"a name below a link that goes round", "loop/x"},
      {"as many links as may be", Links(kMostLinks - 1) + "last"},
      {"one link too many", Links(kMostLinks) + "last"},
      {"the longest name", Long(kLongestName)},
      {"a name too long", Long(kLongestName + 1)},
      {"a name below one too long", Long(kLongestName + 1) + "/x"},
      {"the longest path", PathOf(kLongestPath)},
      {"a path too long", PathOf(kLongestPath + 1)},
      {"a directory closed to users", "closed/inside"},
      {"a directory read-only to users", "dir/inside"},
      {"a new name in a directory read-only to users", "dir/new"},
      {"a directory they may search and not list", "search/inside"},
      {"a directory they may list and not search", "list/inside"},
      {"a new name where they may list and not search", "list/new"},
      {"bytes that are no text", "\xff\xfe\x80 \x01\n"},
      {"a backslash", "a\\b"},
  };
  return paths;
}

// "source", and what the path begins with.
void Prepare(const std::string& path) {
  MakeFile("source", 0666);
  GiveTo("source", Owner());
  const std::string first = path.substr(0, path.find('/'));
  if (first == "file" || first == "filelink" || first == "." || first == "nothing") {
    MakeFile("file", 0666);
    GiveTo("file", Owner());
  }
  if (first == "filelink") MakeLink("file", "filelink");
  if (first == "link") MakeLink("dir", "link");
  if (first == "fifo") KindOf("FIFO").make("fifo", 0666);
  for (const auto& [name, mode] : std::vector<std::pair<std::string, mode_t>>{
           {"dir", 0755}, {"closed", 0700}, {"search", 0711}, {"list", 0744}}) {
    if (first != name && !(first == "link" && name == "dir")) continue;
    MakeDir(name);
    MakeFile(name + "/inside", 0666);
    ASSERT_EQ(chmod(name.c_str(), mode), 0);
  }
  if (first == "dangling") MakeLink("nothing", "dangling");
  if (first == "loop") {
    MakeLink("loop2", "loop");
    MakeLink("loop", "loop2");
  }
  if (first == "here") {
    MakeLink(".", "here");
    MakeLink("source", "last");
  }
}

class Paths : public Lockstep {
 protected:
  void AddAll(const Caller& caller) {
    for (const PathCall& call : PathCalls()) {
      for (const Path& path : WrongAndRight()) {
        Add({call.name + ", " + path.name, [&path] { Prepare(path.path); }, caller,
             [&call, &path] { return call.run(path.path.c_str()); }});
      }
    }
  }
};

TEST_F(Paths, AsRoot) {
  AddAll(Root());
  Run({0, ENOENT, ENOTDIR, ENAMETOOLONG, ELOOP, EEXIST, EISDIR, ENOTEMPTY, EINVAL, EBUSY});
}

TEST_F(Paths, AsAUser) {
  AddAll(Other());
  Run({0, ENOENT, ENOTDIR, ENAMETOOLONG, ELOOP, EEXIST, EISDIR, EINVAL, EACCES, EPERM});
}

}  // namespace
}  // namespace airstore::posix
