// SPDX-License-Identifier: Apache-2.0
//
// Clients of an export that has ended while programs used it: a process of its own answers them,
// for as long as the kernel has the file system. It is nobody's child, and outlives the broker.
// Threads: any; blocks for milliseconds, until that process has the socket.
#pragma once

#include "broker/launcher.h"
#include "shm/base/result.h"

namespace airstore::broker {

// `launch`: of airstore-nfs; `socket`: the listening one, which nobody may shut down any more.
Result<void> RefuseLeftClients(LaunchOptions launch, int socket);

}  // namespace airstore::broker
