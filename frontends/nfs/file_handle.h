// SPDX-License-Identifier: Apache-2.0
//
// FileHandles: what NFS clients hold of files. A handle says all there is to know (inode number and
// generation), so nothing is kept here for the handles that are out there; a seal under the mount's
// key keeps clients from making handles up.
//
// The broker finds any inode by its number, whether it is in the tables at the moment or not. So a
// handle is good for the life of its file, whoever dies or is restarted in between.
// Threads: any; immutable.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "shm/base/siphash.h"

namespace airstore::nfs {

struct FileRef {
  uint64_t inode = 0;
  uint64_t generation = 0;
};

class FileHandles {
 public:
  static constexpr size_t kBytes = 32;
  using Handle = std::array<char, kBytes>;

  explicit FileHandles(const SipKey& key) : key_(key) {}

  Handle Seal(FileRef file) const;
  // Nothing: none of this mount's.
  std::optional<FileRef> Open(std::span<const char> handle) const;

 private:
  const SipKey key_;
};

}  // namespace airstore::nfs
