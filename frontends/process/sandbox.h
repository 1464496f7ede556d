// SPDX-License-Identifier: Apache-2.0
//
// The sandbox of a frontend: what the process gives up for good.
//
// A frontend parses what a kernel or a client sends on behalf of any user; whoever takes it over
// shall find a process that can talk to its lane and to its mount, and do nothing else. Threads:
// both from the main thread, before others exist.
#pragma once

#include <span>

#include "shm/base/result.h"

namespace airstore {

// First thing in main: no new privileges, no core files (they would hold users' file contents).
Result<void> DropPrivileges();
// Once everything is open and mapped: only the system calls that every frontend needs, and `more`.
Result<void> RestrictSystemCalls(std::span<const int> more = {});

}  // namespace airstore
