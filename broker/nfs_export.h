// SPDX-License-Identifier: Apache-2.0
//
// NfsExport: the listening socket of a mount that is served to NFS clients of this host.
//
// It is kept here, so that the port stays the same whichever frontend serves it: what connects
// while there is none waits. Threads: any; nothing blocks.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "broker/mount_device.h"
#include "shm/base/fd.h"

namespace airstore::broker {

// What clients must know, and what handles are sealed with. Made once for each mount.
struct NfsExportNames {
  std::string path;  // that clients mount; not to be guessed
  std::string key;   // 32 hexadecimal digits
};
NfsExportNames NewExportNames();

class NfsExport final : public MountDevice {
 public:
  static constexpr const char* kHost = "127.0.0.1";

  // On a port that the kernel chooses.
  static Result<std::unique_ptr<NfsExport>> Listen();
  // Of a dead broker.
  static std::unique_ptr<NfsExport> Adopt(UniqueFd socket);

  uint16_t port() const;

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
  // Busy: a client is connected.
  Result<void> Unmount(bool lazy) override;
  void Abort() override;

 private:
  explicit NfsExport(UniqueFd socket) : socket_(std::move(socket)) {}
  const UniqueFd socket_;
};

}  // namespace airstore::broker
