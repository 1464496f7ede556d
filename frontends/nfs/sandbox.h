// SPDX-License-Identifier: Apache-2.0
//
// Sandbox: what this process gives up before it reads the first byte of a client.
// Threads: one, before others are started.
#pragma once

#include "shm/base/result.h"

namespace airstore::nfs {

// No new privileges, no core files. Memory for replies is to be had without waiting for what is
// written back to us, where that is permitted: a client on this host would wait for itself.
Result<void> DropPrivileges();
// Only the system calls that serving takes. After everything was opened.
Result<void> RestrictSystemCalls();

}  // namespace airstore::nfs
