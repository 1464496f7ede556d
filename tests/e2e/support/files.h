// SPDX-License-Identifier: Apache-2.0
//
// Files as tests want them: whole contents, errno as a value, and trees as maps to compare.
// Fails how: functions whose failure is no result throw std::runtime_error.
// Threads: any.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "shm/base/fd.h"

namespace airstore::e2e {

// errno of a call that returned -1, else 0.
template <typename T>
int ErrnoOf(T result) {
  return result == static_cast<T>(-1) ? errno : 0;
}

UniqueFd Open(const std::string& path, int flags, mode_t mode = 0644);
std::string ReadFile(const std::string& path);
void WriteFile(const std::string& path, const std::string& content);
std::string ReadSome(int fd, size_t length, off_t offset);
void WriteAt(int fd, const std::string& content, off_t offset);
struct stat Stat(const std::string& path);  // of the link itself
bool Exists(const std::string& path);
// Takes away what `chattr +i` gave.
void MakeMutable(const std::string& path);
// Without "." and "..".
std::set<std::string> NamesIn(const std::string& directory);
// Reproducible, hard to compress.
std::string RandomBytes(uint64_t seed, size_t length);

// What must be the same in two copies of a tree.
struct TreeOptions {
  bool times = true;
  bool owners = true;
  bool xattrs = false;  // access control lists are among them
};
using TreeEntries = std::map<std::string, std::string>;  // path: all there is to say about it
TreeEntries Tree(const std::string& root, const TreeOptions& options = {});
// The first differences, empty when there is none.
std::string Difference(const TreeEntries& expected, const TreeEntries& found);

}  // namespace airstore::e2e
