// SPDX-License-Identifier: Apache-2.0
//
// Whom the calling thread acts as. The kernel keeps identities by thread; only the C library
// spreads them over the process, so these go around it. The thread must be root's. Fails how:
// aborts; nothing is worth testing under a wrong identity. Threads: the calling one only.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace airstore::posix {

struct Caller {
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups = {};  // supplementary
};

constexpr uid_t kOwner = 65530;
constexpr uid_t kMember = 65531;
constexpr uid_t kOther = 65532;
constexpr gid_t kGroup = 65540;       // kOwner's own
constexpr gid_t kOtherGroup = 65541;  // kOther's own
constexpr gid_t kThirdGroup = 65542;  // kMember's own; kOwner is in it, too

const Caller& Root();
const Caller& Owner();   // of kGroup, and a member of kThirdGroup
const Caller& Member();  // of kThirdGroup, and a member of kGroup
const Caller& Other();   // of kOtherGroup only
const std::vector<Caller>& AllCallers();

class ActingAs {
 public:
  explicit ActingAs(const Caller& caller);
  ~ActingAs();
  ActingAs(const ActingAs&) = delete;
  ActingAs& operator=(const ActingAs&) = delete;
};

}  // namespace airstore::posix
