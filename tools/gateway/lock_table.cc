// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/lock_table.h"

namespace airstore::gateway {
namespace {

bool Overlaps(const LockSpec& a, const LockSpec& b) { return a.start <= b.end && b.start <= a.end; }

bool Conflicts(const LockSpec& held, const LockSpec& wanted) {
  if (wanted.mode == LockMode::kUnlock || held.owner == wanted.owner) return false;
  if (!Overlaps(held, wanted)) return false;
  return held.mode == LockMode::kExclusive || wanted.mode == LockMode::kExclusive;
}

// Takes the wanted range out of what its owner holds.
std::vector<LockSpec> Without(const std::vector<LockSpec>& locks, const LockSpec& wanted) {
  std::vector<LockSpec> left;
  for (const LockSpec& held : locks) {
    if (!(held.owner == wanted.owner) || !Overlaps(held, wanted)) {
      left.push_back(held);
      continue;
    }
    if (held.start < wanted.start) {
      left.push_back(held);
      left.back().end = wanted.start - 1;
    }
    if (held.end > wanted.end) {
      left.push_back(held);
      left.back().start = wanted.end + 1;
    }
  }
  return left;
}

// Adds it, joined with neighbours of the same owner and mode.
void AddMerged(std::vector<LockSpec>& locks, LockSpec lock) {
  std::erase_if(locks, [&](const LockSpec& held) {
    if (!(held.owner == lock.owner) || held.mode != lock.mode) return false;
    const bool before = held.end != UINT64_MAX && held.end + 1 == lock.start;
    const bool behind = lock.end != UINT64_MAX && lock.end + 1 == held.start;
    if (before) lock.start = held.start;
    if (behind) lock.end = held.end;
    return before || behind;
  });
  locks.push_back(std::move(lock));
}

}  // namespace

std::optional<LockSpec> LockTable::Set(WorkspaceKey ws, InodeNo ino, bool flock,
                                       const LockSpec& wanted, bool test_only) {
  std::lock_guard lock(mu_);
  const FileKey key{ws, ino, flock};
  const auto it = files_.find(key);
  if (it != files_.end()) {
    for (const LockSpec& held : it->second) {
      if (Conflicts(held, wanted)) return held;
    }
  }
  if (test_only || (it == files_.end() && wanted.mode == LockMode::kUnlock)) return std::nullopt;
  std::vector<LockSpec>& locks = files_[key];
  std::vector<LockSpec> next = Without(locks, wanted);
  if (wanted.mode != LockMode::kUnlock) {
    // Full: as if somebody else held it; the caller tries again later.
    if (next.size() >= kMaxLocksPerInode) return next.front();
    AddMerged(next, wanted);
  }
  locks = std::move(next);
  if (locks.empty()) files_.erase(key);
  return std::nullopt;
}

void LockTable::ReleaseSession(const SessionId& session) {
  std::lock_guard lock(mu_);
  for (auto it = files_.begin(); it != files_.end();) {
    std::erase_if(it->second, [&](const LockSpec& held) { return held.owner.session == session; });
    it = it->second.empty() ? files_.erase(it) : std::next(it);
  }
}

}  // namespace airstore::gateway
