// SPDX-License-Identifier: Apache-2.0
//
// Seals content files against programs that have them open still, through a mount that has ended.
//
// The kernel lets such a program go on writing to a passthrough file, and says that it has written,
// while we send the file for the last time. Once a file is sealed its write fails with EPERM, and a
// store to a map of it is a SIGBUS: what succeeded before is in the file, and what comes later is
// not believed to be kept. It is the immutable attribute of inodes; ext4, XFS and Btrfs look at it
// at each write, tmpfs does not, and setting it needs CAP_LINUX_IMMUTABLE, which who mounts with
// passthrough as root has.
//
// Threads: any.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <utility>

namespace airstore::broker {

// Whether it is sealed now.
bool SealContentFile(const std::string& path);
// Only then it can be changed, renamed or removed.
void UnsealContentFile(const std::string& path);
// All files in it.
void UnsealContentFiles(const std::string& directory);

// A seal that is on its way in a thread of its own: the file system writes the whole file to the
// disk before it has it. Writers of the file wait from its beginning on.
class PendingSeal {
 public:
  explicit PendingSeal(std::string path) : path_(std::move(path)) {}
  // False: the file cannot be sealed. True also when it was called off before: see sealed().
  bool Run();
  // Sealed or not yet, from here on the file is not; waits for a Run that is in the middle of it.
  void CallOff();
  // False, and nothing has happened: a Run is in the middle of it.
  bool TryCallOff();
  // Run has ended, or has not begun.
  bool idle() const { return !running_.load(); }
  bool sealed() const { return sealed_.load(); }

 private:
  void CallOffLocked();

  const std::string path_;
  std::atomic<bool> running_{false};
  std::atomic<bool> sealed_{false};
  std::mutex mutex_;
  bool called_off_ = false;
};

}  // namespace airstore::broker
