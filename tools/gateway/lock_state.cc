// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/lock_state.h"

#include <algorithm>

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

const LockSpec* LockState::Conflict(const LockWish& wish) const {
  const auto file = files.find({wish.ino, wish.flock});
  if (file == files.end()) return nullptr;
  for (const LockSpec& held : file->second) {
    if (Conflicts(held, wish.lock)) return &held;
  }
  return nullptr;
}

void LockState::Put(const LockWish& wish) {
  const FileKey key{wish.ino, wish.flock};
  std::vector<LockSpec>& locks = files[key];
  locks = Without(locks, wish.lock);
  if (wish.lock.mode != LockMode::kUnlock) AddMerged(locks, wish.lock);
  if (locks.empty()) files.erase(key);
}

void LockState::Free(const FileKey& key, Told* told) const {
  for (const auto& [id, wish] : waits) {
    if (wish.ino == key.ino && wish.flock == key.flock && Conflict(wish) == nullptr) {
      told->emplace(id.first, key.ino);
    }
  }
}

bool LockState::WouldDeadlock(const LockWish& wish) const {
  std::set<LockOwner> seen;
  std::vector<const LockWish*> next{&wish};
  while (!next.empty()) {
    const LockWish& waiting = *next.back();
    next.pop_back();
    const auto file = files.find({waiting.ino, waiting.flock});
    if (file == files.end()) continue;
    for (const LockSpec& held : file->second) {
      if (!Conflicts(held, waiting.lock)) continue;
      if (held.owner == wish.lock.owner) return true;
      if (!seen.insert(held.owner).second) continue;
      for (const auto& [id, other] : waits) {
        if (other.process && other.lock.owner == held.owner) next.push_back(&other);
      }
    }
  }
  return false;
}

LockAnswer LockState::Set(const LockWish& wish, std::optional<LockSpec>* conflict, Told* told) {
  const SessionId& session = wish.lock.owner.session;
  if (!known.contains(session)) return LockAnswer::kUnknown;
  const bool unlock = wish.lock.mode == LockMode::kUnlock;
  if (!unlock && !expected.empty()) return LockAnswer::kGrace;
  const LockSpec* held = Conflict(wish);
  if (held != nullptr) *conflict = *held;
  if (wish.test_only) return held != nullptr ? LockAnswer::kHeld : LockAnswer::kDone;
  const FileKey key{wish.ino, wish.flock};
  waits.erase({session, wish.wait});
  LockAnswer answer = LockAnswer::kDone;
  if (held == nullptr) {
    const auto file = files.find(key);
    if (!unlock && file != files.end() && file->second.size() >= kMaxLocksPerInode) {
      return LockAnswer::kFull;
    }
    Put(wish);
  } else {
    answer = LockAnswer::kHeld;
    if (wish.flock) {  // as on Linux: what the owner has goes first
      LockWish none = wish;
      none.lock.mode = LockMode::kUnlock;
      Put(none);
    }
    if (wish.wait != 0 && wish.process && WouldDeadlock(wish)) {
      answer = LockAnswer::kDeadlock;
    } else if (wish.wait != 0 && waits.size() >= kMaxWaits) {
      answer = LockAnswer::kFull;
    } else if (wish.wait != 0) {
      waits[{session, wish.wait}] = wish;
    }
  }
  if (held == nullptr || wish.flock) Free(key, told);
  return answer;
}

bool LockState::Assert(const SessionId& session, const std::vector<LockWish>& held,
                       std::vector<LockWish>* lost, Told* told) {
  // Who still waits there asks again; of a host's earlier life nobody does.
  std::erase_if(waits, [&](const auto& wait) { return wait.first.first == session; });
  std::set<FileKey> before;
  for (auto& [key, locks] : files) {
    if (std::erase_if(locks, [&](const LockSpec& one) { return one.owner.session == session; })) {
      before.insert(key);
    }
  }
  std::erase_if(files, [](const auto& file) { return file.second.empty(); });
  const bool in_time = expired.erase(session) == 0;
  if (in_time) {
    for (const LockWish& wish : held) {
      if (Conflict(wish) != nullptr) {
        lost->push_back(wish);
      } else {
        Put(wish);
      }
    }
  }
  known.insert(session);
  const bool grace_ends = expected.erase(session) != 0 && expected.empty();
  if (grace_ends) {
    for (const auto& [id, wish] : waits) before.insert({wish.ino, wish.flock});
  }
  for (const FileKey& key : before) Free(key, told);
  return in_time;
}

void LockState::Drop(const SessionId& session, bool late, Told* told) {
  std::erase_if(waits, [&](const auto& wait) { return wait.first.first == session; });
  const bool had_any = known.erase(session) + expected.erase(session) != 0;
  std::vector<FileKey> freed;
  for (auto& [key, locks] : files) {
    if (std::erase_if(locks, [&](const LockSpec& one) { return one.owner.session == session; })) {
      freed.push_back(key);
    }
  }
  std::erase_if(files, [](const auto& file) { return file.second.empty(); });
  for (const FileKey& key : freed) Free(key, told);
  if (!late) {
    expired.erase(session);
  } else if (had_any) {
    expired.insert(session);
  }
}

}  // namespace airstore::gateway
