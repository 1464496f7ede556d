// SPDX-License-Identifier: Apache-2.0
#include "frontends/nfs/listed_directories.h"

#include <algorithm>

namespace airstore::nfs {

void ListedDirectories::Keep(uint64_t inode) {
  if (inode == shm::kRootInode) return;  // it never leaves
  uint64_t dropped = 0;
  {
    const std::lock_guard lock(mutex_);
    auto at = std::find(kept_.begin(), kept_.end(), inode);
    if (at == kept_.end()) {
      if (!volume_.Hold(inode)) return;
      at = kept_.end() - 1;
      dropped = *at;
      *at = inode;
    }
    std::rotate(kept_.begin(), at, at + 1);
  }
  if (dropped != 0) volume_.Forget(dropped, 1);
}

void ListedDirectories::Clear() {
  const std::lock_guard lock(mutex_);
  for (uint64_t& inode : kept_) {
    if (inode != 0) volume_.Forget(inode, 1);
    inode = 0;
  }
}

}  // namespace airstore::nfs
