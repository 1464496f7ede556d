// SPDX-License-Identifier: Apache-2.0
#include "broker/announced_change.h"

#include <algorithm>

namespace airstore::broker {

AnnouncedChange::AnnouncedChange(InodeCache* inodes, MountSet* mounts, MountPort* origin,
                                 std::vector<WatchEvent::Name> names)
    : inodes_(inodes), mounts_(mounts), origin_(origin), names_(std::move(names)) {}

bool AnnouncedChange::Ready(const std::vector<uint64_t>& subjects) const {
  if (mounts_->size() < 2) return true;
  return announced_ && std::all_of(subjects.begin(), subjects.end(),
                                   [this](uint64_t inode) { return marked_.contains(inode); });
}

void AnnouncedChange::Mark(uint64_t inode) {
  if (marked_.insert(inode).second) inodes_->BeginChange(inode);
}

void AnnouncedChange::End() {
  for (const uint64_t inode : marked_) inodes_->EndChange(inode);
  marked_.clear();
  announced_ = false;
}

bool AnnouncedChange::Knows(const MountPort& mount, uint64_t inode) const {
  return (inodes_->KnownBy(inode) >> mount.index() & 1) != 0;
}

std::vector<MountPort*> AnnouncedChange::Others() const {
  std::vector<MountPort*> others = mounts_->all();
  std::erase(others, origin_);
  return others;
}

bool AnnouncedChange::Gone(const MountPort* mount) const {
  const auto& now = mounts_->all();
  return std::find(now.begin(), now.end(), mount) == now.end();
}

Task<void> AnnouncedChange::Announce(std::vector<uint64_t> subjects) {
  for (const WatchEvent::Name& entry : names_) subjects.push_back(entry.parent);
  for (const uint64_t inode : subjects) Mark(inode);
  const bool first = listed_.empty();
  for (const MountPort* mount : Others()) {
    listed_.emplace(mount->index(), mount->ListedWhileChanging());
  }
  if (first) co_await ForgetNames(false);
  for (const uint64_t inode : subjects) {
    for (MountPort* mount : Others()) {
      if (Gone(mount) || !Knows(*mount, inode)) continue;
      co_await mount->ForgetAttributes(inode);
    }
  }
  announced_ = true;
}

Task<void> AnnouncedChange::Finish() {
  const bool names_told = announced_ && !names_.empty();
  End();
  if (names_told) co_await ForgetNames(true);
}

Task<void> AnnouncedChange::ForgetNames(bool listed_only) {
  for (const WatchEvent::Name& entry : names_) {
    for (MountPort* mount : Others()) {
      if (Gone(mount) || !Knows(*mount, entry.parent)) continue;
      if (listed_only && listed_[mount->index()] == mount->ListedWhileChanging()) continue;
      co_await mount->InvalidateName(entry.parent, entry.name);
    }
  }
}

}  // namespace airstore::broker
