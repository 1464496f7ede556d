// SPDX-License-Identifier: Apache-2.0
//
// LostFound: where what the gateway will not take is kept until its owner has looked at it: a
// directory for each session, with the files and a manifest that says what they are.
//
// Threads: the event loop.
// Fails: errors are answered; what could not be moved stays where it was.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "shm/base/result.h"

namespace airstore::broker {

inline constexpr char kLostFoundDirectory[] = "lost+found";  // in the spool

struct LostItem {
  std::string id = {};    // to name it by; given when it is added
  std::string what = {};  // "content", "create", ...
  std::string path = {};  // as far as it is known
  uint64_t inode = 0;
  int error = 0;  // errno of the refusal
  uint64_t size = 0;
  std::string file = {};  // name in the directory; empty: there is no content
  int64_t time_ns = 0;    // wall clock; 0: when it is added
};

class LostFound {
 public:
  // `root`: of the spool. `name`: of the session's directory, which is made when it is needed.
  LostFound(std::string root, std::string name, std::string workspace, std::string gateway);

  const std::string& directory() const { return directory_; }
  bool empty() const { return added_ == 0; }
  // A user other than root who may have what is added from now on.
  void AddOwner(uint32_t uid) { owners_.insert(uid); }

  // A name in the directory, which is made, for a file that is going to be added.
  Result<std::string> NewFile(uint64_t inode);
  // The id of what is kept here of that inode, if it has the very bytes of that file: a broker that
  // goes on for another one does not know what that one has kept. Empty: nothing. Any thread; it
  // reads both.
  std::string FindKept(uint64_t inode, const std::string& content) const;
  // Writes items into the manifest. One with an id replaces the item of that id, whose file goes;
  // one without gets an id.
  Result<void> Add(std::vector<LostItem>* items);
  // Moves a content file here (none: empty `content`) and writes it into the manifest.
  Result<void> Keep(LostItem item, const std::string& content);

 private:
  std::string directory_;
  std::string workspace_;
  std::string gateway_;
  std::set<uint32_t> owners_;
  uint64_t added_ = 0;
};

// One thing in lost+found, whoever has put it there.
struct LostEntry {
  LostItem item;
  std::string workspace;
  std::string gateway;
  std::string directory;  // where the file is; of a leftover, the leftover itself
  std::vector<uint32_t> owners;
  bool leftover = false;  // a directory of a broker that did not end well, without a manifest
};

// `root`: of the spool. What cannot be read is listed as a leftover. Any thread.
std::vector<LostEntry> ListLost(const std::string& root);
// Removes it for good, and its directory when nothing else is in it.
Result<void> DiscardLost(const LostEntry& entry);

}  // namespace airstore::broker
