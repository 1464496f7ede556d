// SPDX-License-Identifier: Apache-2.0
//
// All there is to see of the files below the working directory, in words that are the same on any
// file system: times as what became of them.
// Fails how: throws std::runtime_error.
// Threads: any; they share the working directory.
#pragma once

#include <sys/stat.h>

#include <map>
#include <string>

namespace airstore::posix {

class Snapshot {
 public:
  // Of ".". Without contents nothing is read but directories.
  static Snapshot Take(bool contents);
  // One line for each file. A time is given as a number when somebody has set it to the past, else
  // as "kept", "moved" (forward) or "back" against the same file in `before`. Access times only
  // when `atimes`, and not of directories: reading moves them, and looking reads directories.
  std::map<std::string, std::string> Against(const Snapshot& before, bool atimes) const;

 private:
  struct File {
    struct stat info;
    std::string content;  // or the target of a symbolic link
  };
  void Walk(const std::string& path, bool contents);

  std::map<std::string, File> files_;
  std::map<ino_t, struct stat> by_inode_;
};

}  // namespace airstore::posix
