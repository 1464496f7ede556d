// SPDX-License-Identifier: Apache-2.0
#include "broker/lock_table.h"

#include <algorithm>

namespace airstore::broker {

const LockRange* LockTable::Conflict(const LockCall& call) const {
  const auto file = files_.find(call.inode);
  return file == files_.end() ? nullptr : file->second.of(call).Conflict(call.range);
}

std::vector<LockOwner> LockTable::Holders(const LockCall& call) const {
  const auto file = files_.find(call.inode);
  if (file == files_.end()) return {};
  return file->second.of(call).Holders(call.range);
}

std::vector<LockRange> LockTable::Own(const LockCall& call) const {
  std::vector<LockRange> own;
  const auto file = files_.find(call.inode);
  if (file == files_.end()) return own;
  for (LockRange range : file->second.of(call).all()) {
    range.first = std::max(range.first, call.range.first);
    range.last = std::min(range.last, call.range.last);
    if (range.owner == call.range.owner && range.first <= range.last) own.push_back(range);
  }
  return own;
}

void LockTable::Set(const LockCall& call) {
  const bool unlock = call.range.type == LockType::kUnlock;
  if (unlock && !files_.contains(call.inode)) return;
  File& file = files_[call.inode];
  file.of(call).Set(call.range);
  if (unlock) {
    file.Tidy();
    return DropIfEmpty(call.inode);
  }
  const bool known =
      std::any_of(file.through.begin(), file.through.end(), [&](const Through& through) {
        return through.owner == call.range.owner && through.handle == call.handle;
      });
  if (!known) file.through.push_back({call.range.owner, call.handle, 0});
}

void LockTable::Flush(const LockCall& call, int64_t now_ns) {
  const auto file = files_.find(call.inode);
  if (file == files_.end()) return;
  file->second.ranges.Drop(call.range.owner);
  for (Through& through : file->second.through) {
    if (IsThrough(through, call)) through.closed_ns = now_ns;
  }
  file->second.Tidy();
  DropIfEmpty(call.inode);
}

void LockTable::Release(const LockCall& call) {
  const auto file = files_.find(call.inode);
  if (file == files_.end()) return;
  for (const Through& through : file->second.through) {
    if (!IsThrough(through, call)) continue;
    file->second.ranges.Drop(through.owner);
    file->second.whole.Drop(through.owner);
  }
  file->second.Tidy();
  DropIfEmpty(call.inode);
}

std::vector<uint64_t> LockTable::ReleaseMount(uint32_t mount) {
  std::vector<uint64_t> inodes;
  for (auto& [inode, file] : files_) {
    bool dropped = false;
    for (const Through& through : file.through) {
      if (through.owner.mount != mount) continue;
      file.ranges.Drop(through.owner);
      file.whole.Drop(through.owner);
      dropped = true;
    }
    file.Tidy();
    if (dropped) inodes.push_back(inode);
  }
  for (const uint64_t inode : inodes) DropIfEmpty(inode);
  return inodes;
}

bool LockTable::FlushTakes(const LockCall& call) const {
  const auto file = files_.find(call.inode);
  return file != files_.end() && file->second.ranges.Has(call.range.owner);
}

bool LockTable::ReleaseTakes(const LockCall& call) const {
  const auto file = files_.find(call.inode);
  return file != files_.end() &&
         std::any_of(file->second.through.begin(), file->second.through.end(),
                     [&](const Through& through) { return IsThrough(through, call); });
}

std::vector<LockOwner> LockTable::OwnersThrough(const LockCall& call) const {
  std::vector<LockOwner> owners;
  const auto file = files_.find(call.inode);
  if (file == files_.end()) return owners;
  for (const Through& through : file->second.through) {
    if (IsThrough(through, call)) owners.push_back(through.owner);
  }
  return owners;
}

bool LockTable::ClosedSince(const LockCall& call, const LockOwner& holder, int64_t since_ns) const {
  const auto file = files_.find(call.inode);
  if (file == files_.end()) return false;
  return std::any_of(file->second.through.begin(), file->second.through.end(),
                     [&](const Through& through) {
                       return through.owner == holder && through.closed_ns >= since_ns;
                     });
}

size_t LockTable::size(uint64_t inode) const {
  const auto file = files_.find(inode);
  if (file == files_.end()) return 0;
  return file->second.ranges.all().size() + file->second.whole.all().size();
}

void LockTable::ForEach(const std::function<void(const LockCall&)>& visit) const {
  for (const auto& [inode, file] : files_) {
    for (const bool flock : {false, true}) {
      for (const LockRange& range : (flock ? file.whole : file.ranges).all()) {
        for (const Through& through : file.through) {
          if (through.owner == range.owner) visit({inode, flock, range, through.handle});
        }
      }
    }
  }
}

void LockTable::File::Tidy() {
  std::erase_if(through, [this](const Through& one) {
    return !ranges.Has(one.owner) && !whole.Has(one.owner);
  });
}

void LockTable::DropIfEmpty(uint64_t inode) {
  const auto file = files_.find(inode);
  if (file != files_.end() && file->second.ranges.empty() && file->second.whole.empty()) {
    files_.erase(file);
  }
}

}  // namespace airstore::broker
