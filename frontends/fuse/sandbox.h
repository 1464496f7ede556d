// SPDX-License-Identifier: Apache-2.0
//
// The sandbox of a frontend: what the process gives up for good.
//
// A frontend parses what the kernel sends on behalf of any user; whoever takes it over shall find a
// process that can talk to its lane and to its mount, and do nothing else.
// Threads: both from the main thread, before others exist.
#pragma once

#include "shm/base/result.h"

namespace airstore::fuse {

// First thing in main: no new privileges, no core files (they would hold users' file contents).
Result<void> DropPrivileges();
// Once everything is mapped: only the system calls that serving needs.
Result<void> RestrictSystemCalls();

}  // namespace airstore::fuse
