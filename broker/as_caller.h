// SPDX-License-Identifier: Apache-2.0
//
// Looking at paths that callers name, with the callers' own rights.
//
// Each look is made by a process of its own: who names a path may have a file system below it that
// does not answer, and may change what its names lead to at any time. So the broker does not wait
// for it but for a while, what is found is what the caller could find, and goes on as a descriptor.
// Threads: the event loop.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "broker/broker_api.h"
#include "broker/task.h"
#include "shm/base/fd.h"
#include "shm/base/result.h"

namespace airstore::broker {

struct FoundDirectory {
  std::shared_ptr<const UniqueFd> directory;  // O_PATH
  std::string path;                           // canonical, when it was found
  uint32_t owner = 0;
};

// Errors: what the caller gets (ENOENT, EACCES, ENOTDIR, ENOTCONN of a mount that nobody serves);
// ETIMEDOUT: no answer; EBUSY: too many looks of this caller get none.
Task<Result<FoundDirectory>> OpenDirectoryAs(Caller caller, std::string path);
// As access(2) with W_OK.
Task<Result<void>> MayWriteAs(Caller caller, std::string path);

// Of a descriptor, for whoever takes a path.
std::string PathOfDescriptor(int fd);

}  // namespace airstore::broker
