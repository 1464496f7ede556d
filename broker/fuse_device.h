// SPDX-License-Identifier: Apache-2.0
//
// FuseDevice: one mounted /dev/fuse descriptor, held by the broker for the life of the mount.
//
// The frontend serves requests on a duplicate; the broker mounts, registers backing files for
// passthrough, sends invalidations, and unmounts. As root the broker calls mount(2) itself; as an
// ordinary user it goes through fusermount3, which also unmounts.
// Threads: Mount and Unmount block: call them from a worker thread or before serving. Notify* may
// block while the kernel waits for a page or directory lock: call them from the mount's notifier
// thread, except NotifyInvalAttr and NotifyIncEpoch, which take no such lock. The backing calls are
// quick and may be made from the event loop.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "broker/mount_device.h"
#include "broker/proc_mounts.h"
#include "shm/base/fd.h"
#include "shm/base/result.h"

namespace airstore::broker {

struct FuseMountOptions {
  std::string mountpoint;  // absolute, canonical
  int directory = -1;      // what to mount on, wherever that path leads by then; -1: what is there
  std::string source;      // shown in /proc/mounts, e.g. "airstore:WORKSPACE"
  bool read_only = false;
  bool kernel_checks = true;  // default_permissions
  bool relatime = false;      // else noatime is shown, for what holds
  bool allow_other = true;    // refused by fusermount3 unless user_allow_other is set
  uint32_t owner_uid = 0;
  uint32_t owner_gid = 0;
};

class FuseDevice final : public MountDevice {
 public:
  // Opens /dev/fuse and mounts. Errors name what is missing and what to do: FUSE is not to be had
  // here (ENODEV: no /dev/fuse, no permission on it, no fusermount3), mount point busy (EBUSY),
  // stale (ENOTCONN: says how to clear it), not a directory (ENOTDIR).
  static Result<std::unique_ptr<FuseDevice>> Mount(const FuseMountOptions& options);

  // A mount that another process has made, by a duplicate of its device. `minor`: of its device
  // number, 0 when that is not known. Without a descriptor it can only be unmounted.
  static std::unique_ptr<FuseDevice> Adopt(UniqueFd device, std::string mountpoint, uint32_t minor);

  // True when this process may register backing files on this kernel (CAP_SYS_ADMIN and
  // Linux 6.9+).
  static bool PassthroughPossible();

  int fd() const override;
  const std::string& mountpoint() const;
  uint32_t minor() const override;
  // Somewhere: its mount point may have been moved.
  bool Mounted() const override;
  bool has_kernel() const override { return true; }

  // Registers an open regular file; the id is valid for this connection until closed.
  Result<int32_t> BackingOpen(int file) override;
  void BackingClose(int32_t backing_id) override { BackingClose(fd(), backing_id); }
  static void BackingClose(int device, int32_t backing_id);

  // Messages that make the kernel forget, or know, for who writes them to the device (notifier.h).
  static std::string InvalEntryMessage(uint64_t parent, std::string_view name);
  static std::string InvalAttrMessage(uint64_t inode);
  static std::string PruneMessage(std::span<const uint64_t> inodes);
  static std::string InvalDataMessage(uint64_t inode, uint64_t offset, uint64_t length);
  // Bytes for the kernel's pages; its size of the file grows to where they end.
  static std::string StoreMessage(uint64_t inode, uint64_t offset, std::string_view bytes);

  // Each returns ENOENT when the kernel does not hold the object: nothing to do then.
  Result<void> NotifyInvalEntry(uint64_t parent, std::string_view name);
  // Attributes only.
  Result<void> NotifyInvalAttr(uint64_t inode) override;
  // Attributes and cached pages of [offset, offset + length); length 0: to the end.
  Result<void> NotifyInvalData(uint64_t inode, uint64_t offset, uint64_t length);
  // Makes the kernel revalidate every cached name of this mount. ENOSYS before Linux 6.16.
  Result<void> NotifyIncEpoch() override;

  // Makes the kernel forget the inodes that no program uses at this moment. EINVAL before
  // Linux 6.18.
  Result<void> NotifyPrune(std::span<const uint64_t> inodes);

  // Has the kernel send all requests once more that somebody has read and not answered: before the
  // next frontend reads, and when the last one is gone. EINVAL before Linux 6.9.
  Result<void> Resend() override;
  // Answers a request that a frontend has read: with an errno, or 0 for success without more to
  // say. ENOENT: it is not waiting any more, or waits to be sent again.
  Result<void> Answer(uint64_t unique, int error) override;

  // lazy: detach now even when busy. EBUSY otherwise, when something is open in it. ESTALE:
  // something else is mounted over it.
  Result<void> Unmount(bool lazy) override;
  // Ends the connection at once: every request gets ECONNABORTED.
  void Abort() override;

  ~FuseDevice() override;
  FuseDevice(const FuseDevice&) = delete;
  FuseDevice& operator=(const FuseDevice&) = delete;

 private:
  struct State;
  // To a file system: it is mounted somewhere, or still in use.
  bool Connected() const;
  std::optional<MountedFs> Found() const;
  explicit FuseDevice(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace airstore::broker
