// SPDX-License-Identifier: Apache-2.0
//
// Listening and connecting sockets from an address text: HOST:PORT, [V6]:PORT or unix:PATH.
// Threads: plain functions. The descriptors are non-blocking and close-on-exec.
#pragma once

#include <cstdint>
#include <string>

#include "shm/base/fd.h"
#include "shm/base/result.h"

namespace airstore::bench {

Result<UniqueFd> ListenOn(const std::string& address);
// The connection may still be under way.
Result<UniqueFd> StartConnect(const std::string& address);
// Port of a bound TCP socket, else 0.
uint16_t BoundPort(int fd);
// Sends small messages at once; without effect on unix sockets.
void SetNoDelay(int fd);

}  // namespace airstore::bench
