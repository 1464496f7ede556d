// SPDX-License-Identifier: Apache-2.0
//
// What the kernels of other mounts are told of changes.
#include "broker/tree.h"

namespace airstore::broker {

// By index: a mount may go while another one is told.
std::vector<uint32_t> Tree::Knowing(uint64_t inode, const MountPort* origin) const {
  const uint64_t known_by = inodes_->KnownBy(inode);
  std::vector<uint32_t> others;
  for (const MountPort* mount : mounts_->all()) {
    if (mount == origin || (known_by & (1ull << mount->index())) == 0) continue;
    others.push_back(mount->index());
  }
  return others;
}

Task<void> Tree::NotifyName(MountPort* origin, uint64_t parent, std::string name) {
  if (mounts_->size() < 2) co_return;
  for (const uint32_t other : Knowing(parent, origin)) {
    MountPort* const mount = mounts_->Find(other);
    if (mount != nullptr) co_await mount->InvalidateName(parent, name);
  }
}

Task<void> Tree::NotifyData(MountPort* origin, uint64_t inode, uint64_t offset, uint64_t length) {
  if (mounts_->size() < 2) co_return;
  std::optional<FileEnd> end = contents_->End(inode);
  if (end && length != 0 && offset + length < end->size) end.reset();
  for (const uint32_t other : Knowing(inode, origin)) {
    if (announcing_.contains(inode)) {
      tasks_->Spawn(TellChanged(other, inode, offset, length, end));
    } else {
      co_await TellChanged(other, inode, offset, length, end);
    }
  }
}

// A kernel that is about to be told of the inode, size and all, has forgotten nothing by then.
Task<void> Tree::TellChanged(uint32_t to, uint64_t inode, uint64_t offset, uint64_t length,
                             std::optional<FileEnd> end) {
  co_await TellData(to, inode, offset, length, end);
  MountPort* const mount = mounts_->Find(to);
  if (mount != nullptr) co_await mount->ForgetAttributes(inode);
}

// A kernel that forgets a page writes out first what was stored to it. While that goes on nobody
// waits for the others to hear of it: who waits here may be in the way of their pages, and they
// hear of this change in any case. Who changes the same file at the same time does not wait at all.
Task<void> Tree::AnnounceData(MountPort* origin, uint64_t inode, uint64_t offset, uint64_t length) {
  if (mounts_->size() < 2 || announcing_.contains(inode)) co_return;
  std::vector<uint32_t> others;
  for (const MountPort* mount : mounts_->all()) {
    if (mount != origin && contents_->HasDaemonWriter(inode, mount->index())) {
      others.push_back(mount->index());
    }
  }
  if (others.empty()) co_return;
  announcing_.insert(inode);
  for (const uint32_t other : others) co_await TellData(other, inode, offset, length, std::nullopt);
  announcing_.erase(inode);
}

Task<void> Tree::TellData(uint32_t to, uint64_t inode, uint64_t offset, uint64_t length,
                          std::optional<FileEnd> end) {
  MountPort* const mount = mounts_->Find(to);
  if (mount != nullptr) co_await mount->InvalidateData(inode, offset, length, end);
}

void Tree::NotifyAttr(MountPort* origin, uint64_t inode) {
  if (mounts_->size() < 2) return;
  const uint64_t known_by = inodes_->KnownBy(inode);
  for (MountPort* mount : mounts_->all()) {
    if (mount == origin || (known_by & (1ull << mount->index())) == 0) continue;
    mount->InvalidateAttr(inode);
  }
}

Task<void> Tree::ShowMoved(MountPort* origin, uint64_t directory) {
  if (mounts_->size() < 2) co_return;
  for (const uint32_t other : Knowing(directory, origin)) {
    MountPort* const mount = mounts_->Find(other);
    const uint32_t index = inodes_->IndexOf(directory);
    if (mount == nullptr || index == shm::kNoIndex || mount->Lookups(index) == 0) continue;
    std::string path = DirectoryPath(directory);
    if (path.starts_with('/')) co_await mount->FindDirectory(std::move(path));
  }
}

void Tree::NotifyOwner(MountPort* origin, uint64_t inode) {
  if (mounts_->size() < 2) return;
  const uint64_t known_by = inodes_->KnownBy(inode);
  for (MountPort* mount : mounts_->all()) {
    if (mount == origin || (known_by & (1ull << mount->index())) == 0) continue;
    mount->InvalidateOwner(inode);
  }
}

}  // namespace airstore::broker
