// SPDX-License-Identifier: Apache-2.0
//
// Messages of a Unix socket that carry descriptors.
//
// Threads: stateless; a socket has one reader and one writer at a time.
#pragma once

#include <sys/types.h>

#include <span>
#include <vector>

#include "shm/base/fd.h"

namespace airstore {

// With one message.
inline constexpr size_t kMostDescriptors = 16;

// As sendmsg(2) without SIGPIPE, again when a signal interrupts it: how many bytes were sent, or -1
// with errno. Memory: none, so it may be called between fork and _exit. REQUIRES: `fds` are at most
// kMostDescriptors; they stay the caller's.
ssize_t SendWithDescriptors(int socket, const void* bytes, size_t count, std::span<const int> fds,
                            int flags = 0);

// As recvmsg(2), again when a signal interrupts it: how many bytes came, or -1 with errno. `fds`
// are all descriptors that came with them, closed on exec. `came`: flags of the message (MSG_TRUNC,
// MSG_CTRUNC), or nullptr.
ssize_t ReceiveWithDescriptors(int socket, void* bytes, size_t count, std::vector<UniqueFd>* fds,
                               int flags = 0, int* came = nullptr);

}  // namespace airstore
