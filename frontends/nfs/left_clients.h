// SPDX-License-Identifier: Apache-2.0
//
// LeftClients: what answers programs that still use an export which was unmounted by force.
//
// A kernel's client asks for a file again and again until it is answered, also when the file is
// closed, and lets nobody go meanwhile who was killed. Here every call is answered: what it asks
// for is gone. Ends when that kernel has let go of the file system. Threads: one.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "frontends/nfs/connection.h"
#include "frontends/nfs/peers.h"
#include "frontends/nfs/worker_memory.h"

namespace airstore::nfs {

class LeftClients {
 public:
  // `volumes`: /proc/fs/nfsfs/volumes, opened.
  LeftClients(UniqueFd listener, Peers peers, UniqueFd volumes);

  // Returns when nobody is left.
  void Run();

 private:
  // The kernel has something of that port mounted.
  bool SomebodyIsLeft();
  void Accept();
  // False: the connection has ended.
  bool Answer(Connection& connection);

  const UniqueFd listener_;
  Peers peers_;
  const UniqueFd volumes_;
  const uint16_t port_;
  const WorkerMemory memory_;
  std::vector<std::unique_ptr<Connection>> connections_;
};

// The whole reply to a call, in `room`; 0 bytes: it makes no sense.
size_t RefuseCall(std::span<const uint8_t> record, std::span<char> room);
// Whether a line of that text is of the server at this port of 127.0.0.1.
bool HasVolumeOf(const std::string& volumes, uint16_t port);

}  // namespace airstore::nfs
