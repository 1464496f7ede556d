// SPDX-License-Identifier: Apache-2.0
//
// Connection: one client's TCP connection. One worker at a time reads records from it; replies are
// sent by whoever has one, each as a whole.
// Threads: as said.
// Owns: the socket.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <mutex>
#include <span>

#include "frontends/nfs/dispatcher.h"
#include "shm/base/fd.h"

namespace airstore::nfs {

class Connection {
 public:
  // The longest WRITE with all that is around its bytes.
  static constexpr size_t kMostRecord = kMostWrite + (4u << 10);

  // Who stops in the middle of a record, or takes no replies, is waited for so long.
  Connection(UniqueFd socket, Peer peer);

  // Reads one record into the buffer. Empty: the connection has ended, or makes no sense.
  std::span<const uint8_t> ReadRecord(std::span<uint8_t> buffer);
  // Something of the next record has come, or the connection has ended.
  bool HasMore() const;
  // Ends the connection when it cannot be sent.
  void SendReply(std::span<const char> head, const iovec* payload, int count);
  // Reading ends.
  void End();

  int socket() const { return socket_.get(); }
  const Peer& peer() const { return peer_; }

 private:
  const UniqueFd socket_;
  const Peer peer_;
  std::mutex sending_;
};

}  // namespace airstore::nfs
