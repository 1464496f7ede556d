// SPDX-License-Identifier: Apache-2.0
#include "tests/posix/caller.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace airstore::posix {
namespace {

void Must(long result, const char* what) {
  if (result == 0) return;
  perror(what);
  abort();
}

void SetGroups(const std::vector<gid_t>& groups) {
  Must(syscall(SYS_setgroups, groups.size(), groups.data()), "setgroups");
}

}  // namespace

const Caller& Root() {
  static const Caller caller{"root"};
  return caller;
}

const Caller& Owner() {
  static const Caller caller{"owner", kOwner, kGroup, {kThirdGroup}};
  return caller;
}

const Caller& Member() {
  static const Caller caller{"member", kMember, kThirdGroup, {kGroup}};
  return caller;
}

const Caller& Other() {
  static const Caller caller{"other", kOther, kOtherGroup};
  return caller;
}

const std::vector<Caller>& AllCallers() {
  static const std::vector<Caller> callers{Root(), Owner(), Member(), Other()};
  return callers;
}

ActingAs::ActingAs(const Caller& caller) {
  if (caller.uid == 0) return;
  SetGroups(caller.groups);
  Must(syscall(SYS_setresgid, caller.gid, caller.gid, 0), "setresgid");
  // The saved identity is the way back.
  Must(syscall(SYS_setresuid, caller.uid, caller.uid, 0), "setresuid");
}

ActingAs::~ActingAs() {
  Must(syscall(SYS_setresuid, 0, 0, 0), "setresuid");
  Must(syscall(SYS_setresgid, 0, 0, 0), "setresgid");
  SetGroups({});
}

}  // namespace airstore::posix
