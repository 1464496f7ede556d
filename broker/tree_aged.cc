// SPDX-License-Identifier: Apache-2.0
//
// What a gateway without a watch said too long ago: names are asked for again, and inodes compared
// with the gateway before they are used. Nothing is known to have changed, so content stays.
#include <algorithm>
#include <set>

#include "broker/tree.h"

namespace airstore::broker {

Task<void> Tree::Age(std::vector<uint64_t> inodes, std::vector<uint64_t> directories) {
  RemoteChanges kernels;
  const auto distrust_names = [this] {
    bool all = true;
    for (MountPort* mount : mounts_->all()) all = mount->DistrustNames() && all;
    return all;
  };
  const bool by_name = !directories.empty() && !distrust_names();
  const std::set<uint64_t> aged(directories.begin(), directories.end());
  for (const uint64_t directory : aged) {
    const uint32_t index = inodes_->IndexOf(directory);
    if (index == shm::kNoIndex || (inodes_->Get(directory)->flags & shm::kOrphan) != 0) continue;
    inodes_->freshness().Changed(directory);
    DropNames(index, by_name, &kernels);
  }
  if (!aged.empty()) DropNegatives(aged);
  std::vector<uint64_t> open;
  for (const uint64_t inode : inodes) {
    const auto record = inodes_->Get(inode);
    // What is pending here is told again when the gateway has it.
    if (!record || (record->flags & shm::kOrphan) != 0 || log_->PendingOf(inode) != 0 ||
        contents_->MayBeDirty(inode)) {
      continue;
    }
    inodes_->freshness().Changed(inode);
    inodes_->MarkStale(inode);
    kernels.attributes.push_back(inode);
    if (contents_->HasOpens(inode)) open.push_back(inode);
  }
  // Answers were given meanwhile from what was still here.
  if (!aged.empty()) (void)distrust_names();
  co_await TellKernels(std::move(kernels));
  tasks_->Spawn(FollowUp(std::move(open), {}));
}

void Tree::DropNegatives(const std::set<uint64_t>& directories) {
  std::erase_if(negatives_, [&](const Negative& negative) {
    if (!directories.contains(negative.parent)) return false;
    DropNegative(negative);
    if (negative.is_long) --long_negatives_;
    return true;
  });
}

}  // namespace airstore::broker
