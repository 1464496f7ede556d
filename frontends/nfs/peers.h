// SPDX-License-Identifier: Apache-2.0
//
// Peers: whose socket is at the other end of a loopback connection. TCP has no SO_PEERCRED; the
// kernel's table of sockets says who made each, also on ports that need no privilege. The rule of
// the secure port would let every process with CAP_NET_BIND_SERVICE speak for everybody.
// Threads: one at a time.
#pragma once

#include <cstdint>
#include <optional>

#include "shm/base/fd.h"
#include "shm/base/result.h"

namespace airstore::nfs {

class Peers {
 public:
  // Before the process may open nothing any more.
  static Result<Peers> Open();

  // Of the other end of that connection. Nothing: it is not on this host, or gone already.
  std::optional<uint32_t> UidOf(int connection);

 private:
  explicit Peers(UniqueFd table) : table_(std::move(table)) {}
  UniqueFd table_;  // /proc/net/tcp
};

}  // namespace airstore::nfs
