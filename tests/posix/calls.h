// SPDX-License-Identifier: Apache-2.0
//
// The tables that cases are made of: every call that takes a path, every kind of file.
// Threads: the test's.
#pragma once

#include <string>
#include <vector>

#include "tests/posix/lockstep.h"

namespace airstore::posix {

// One call on one path. Calls with two paths are in the table once for each; the other one is then
// "source", which the case has made, or "target", which does not exist.
struct PathCall {
  std::string name;
  std::function<Outcome(const char* path)> run;
};
const std::vector<PathCall>& PathCalls();

// Something to call upon. `make` makes it at a path, as root, with this mode where it has one.
struct Kind {
  std::string name;
  std::function<void(const std::string& path, mode_t mode)> make;
  bool directory = false;
};
const std::vector<Kind>& Kinds();
const Kind& KindOf(const std::string& name);

// Shorthands for preparing. They throw when they fail.
void MakeFile(const std::string& path, mode_t mode = 0644, const std::string& content = "content");
void MakeDir(const std::string& path, mode_t mode = 0755);
void MakeLink(const std::string& target, const std::string& path);
void GiveTo(const std::string& path, uid_t uid, gid_t gid);
// Keeps the mode, which changing the owner may reduce.
void GiveTo(const std::string& path, const Caller& caller);
// To a second long past, the same for both.
void SetOldTimes(const std::string& path);

}  // namespace airstore::posix
