// SPDX-License-Identifier: Apache-2.0
//
// NfsExport: the listening socket of a mount that is served to NFS clients of this host, and the
// mount that this host's kernel has made of it, if it was asked to.
//
// The socket is kept here, so that the port stays the same whichever frontend serves it: what
// connects while there is none waits.
// Threads: any. Mount, WriteBack and Unmount block, and need a frontend meanwhile.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "broker/mount_device.h"
#include "broker/nfs_mount.h"
#include "shm/base/fd.h"

namespace airstore::broker {

class NfsExport final : public MountDevice {
 public:
  static constexpr const char* kHost = "127.0.0.1";

  // On that port if it is free, else on one that the kernel chooses.
  static Result<std::unique_ptr<NfsExport>> Listen(uint16_t port);
  // Of a dead broker. `source`: as what it has mounted it at `mountpoint`; both empty: nowhere.
  static std::unique_ptr<NfsExport> Adopt(UniqueFd socket, std::string source,
                                          std::string mountpoint);

  // With this host's kernel.
  Result<void> Mount(const NfsMountOptions& options);
  // It was, and nobody has unmounted it since.
  bool StillMounted() const override;

  uint16_t port() const;
  const std::string& mountpoint() const { return mountpoint_; }

  int fd() const override { return socket_.get(); }
  uint32_t minor() const override { return 0; }
  bool Mounted() const override;
  bool has_kernel() const override { return false; }
  Result<int32_t> BackingOpen(int file) override;
  void BackingClose(int32_t /*backing_id*/) override {}
  Result<void> NotifyInvalAttr(uint64_t inode) override;
  Result<void> NotifyIncEpoch() override { return {}; }
  Result<void> Resend() override { return {}; }
  Result<void> Answer(uint64_t unique, int error) override;
  void WriteBack() override;
  // Busy: something is open in it, or, when it is not mounted here, a client is connected.
  Result<void> Unmount(bool lazy) override;
  bool Outlived() const override { return outlived_; }
  void Abort() override;

 private:
  explicit NfsExport(UniqueFd socket) : socket_(std::move(socket)) {}
  std::optional<MountedFs> Found() const;

  const UniqueFd socket_;
  std::string source_;
  std::string mountpoint_;  // empty: it is only served
  bool outlived_ = false;
};

}  // namespace airstore::broker
