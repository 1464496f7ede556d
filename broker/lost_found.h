// SPDX-License-Identifier: Apache-2.0
//
// LostFound: where what the gateway will not take is kept until its owner has looked at it: a
// directory for each session, with the files and a manifest that says what they are.
//
// Threads: the event loop.
// Fails: errors are logged and answered; what could not be moved stays where it was.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "shm/base/result.h"

namespace airstore::broker {

struct LostItem {
  std::string what;  // "content", "create", ...
  std::string path;  // as far as it is known
  uint64_t inode = 0;
  int error = 0;  // errno of the refusal
  uint64_t size = 0;
  std::string file;  // name in the directory; empty: there is no content
};

class LostFound {
 public:
  // `root`: of the spool. `name`: of the session's directory, which is made when it is needed.
  LostFound(std::string root, std::string name, std::string workspace, std::string gateway);

  const std::string& directory() const { return directory_; }
  bool empty() const { return items_.empty(); }
  // Moves a content file here (none: empty `content`) and writes it into the manifest.
  Result<void> Keep(LostItem item, const std::string& content);

 private:
  Result<void> WriteItems();

  std::string directory_;
  std::string workspace_;
  std::string gateway_;
  std::vector<LostItem> items_;
};

}  // namespace airstore::broker
