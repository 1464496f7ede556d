// SPDX-License-Identifier: Apache-2.0
//
// MountDevice: where the clients of a mount are reached: a FUSE device that a kernel sends requests
// through, or a socket that NFS clients connect to. The broker holds it for the life of the mount;
// frontends serve a duplicate and may die.
// Threads: as the kinds say.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "shm/base/result.h"

namespace airstore::broker {

class MountDevice {
 public:
  virtual ~MountDevice() = default;

  virtual int fd() const = 0;
  // Of the mounted file system's device number; 0: there is none here, or it is not known.
  virtual uint32_t minor() const = 0;
  // Clients can reach it, and nobody else has taken its place.
  virtual bool Mounted() const = 0;
  // The client is this host's kernel: it keeps what it is told until it is made to forget, counts
  // what it has looked up, and sends unanswered requests again when it is told to. Without, what
  // follows here does nothing, and opens end with the frontend.
  virtual bool has_kernel() const = 0;

  virtual Result<int32_t> BackingOpen(int file) = 0;
  virtual void BackingClose(int32_t backing_id) = 0;
  virtual Result<void> NotifyInvalAttr(uint64_t inode) = 0;
  virtual Result<void> NotifyIncEpoch() = 0;
  virtual Result<void> Resend() = 0;
  virtual Result<void> Answer(uint64_t unique, int error) = 0;

  // Has the client send what it keeps to itself; may block for long, and needs a frontend.
  virtual void WriteBack() {}
  // lazy: detach now even when busy. EBUSY otherwise, when it is in use. ESTALE: something
  // else is mounted over it.
  virtual Result<void> Unmount(bool lazy) = 0;
  // It was unmounted lazily, and programs that still use it wait for answers until they have them.
  virtual bool Outlived() const { return false; }
  // Programs may use it although nobody serves it any more.
  virtual bool StillMounted() const { return false; }
  // Ends what clients wait for.
  virtual void Abort() = 0;
};

}  // namespace airstore::broker
