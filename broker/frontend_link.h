// SPDX-License-Identifier: Apache-2.0
//
// FrontendLink: the way from a new broker to a frontend that has outlived its own.
//
// Each frontend listens on a socket in its session's spool, which the broker had bound for it. Who
// connects is told what there is to adopt: the device and read-only descriptors of the tables.
// Threads: any; calls block, for seconds at most, whatever the frontend does.
// Fails: ENOENT or ECONNREFUSED when nobody listens; EPERM when it is not the mount's frontend;
// ETIMEDOUT when it does not answer.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "shm/base/fd.h"
#include "shm/base/result.h"
#include "shm/segment.h"

namespace airstore::broker {

std::string FrontendSocketName(uint32_t mount_index);

// Bound, for the frontend to listen on; replaces what is there. The path may be of any length.
Result<UniqueFd> BindFrontendSocket(const std::string& directory, const std::string& name);

struct FrontendLink {
  UniqueFd channel;
  UniqueFd device;  // whatever the version
  UniqueFd meta;    // ditto
  // Of a process that is not our child: to watch and to signal.
  pid_t pid = -1;
  UniqueFd pidfd;
  uint32_t abi_major = 0;
  uint32_t abi_minor = 0;
  // Only of our own version.
  shm::SessionId session{};
  uint32_t mount_index = 0;
  std::vector<std::pair<uint32_t, UniqueFd>> slabs;  // by index
};

// For all of it, however many messages it is.
inline constexpr std::chrono::milliseconds kGreetingPatience{5000};

// Connects and takes the greeting. `uid`: the user the frontend runs as.
Result<FrontendLink> ConnectFrontend(const std::string& directory, const std::string& name,
                                     uint32_t uid,
                                     std::chrono::milliseconds patience = kGreetingPatience);
// Empty, or a sentence that names both versions.
std::string VersionProblem(const FrontendLink& link);
// Makes the link the frontend's channel, and returns when it reads the new tables. EPROTO with the
// frontend's words when it refuses.
Result<void> Reattach(const FrontendLink& link, int meta_read_only, int wake_eventfd);

}  // namespace airstore::broker
