// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/lock_table.h"

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

const LockSpec* LockTable::Conflict(const Workspace& in, const LockWish& wish) {
  const auto file = in.files.find({wish.ino, wish.flock});
  if (file == in.files.end()) return nullptr;
  for (const LockSpec& held : file->second) {
    if (Conflicts(held, wish.lock)) return &held;
  }
  return nullptr;
}

void LockTable::Put(Workspace* in, const LockWish& wish) {
  const FileKey key{wish.ino, wish.flock};
  std::vector<LockSpec>& locks = in->files[key];
  locks = Without(locks, wish.lock);
  if (wish.lock.mode != LockMode::kUnlock) AddMerged(locks, wish.lock);
  if (locks.empty()) in->files.erase(key);
}

void LockTable::Free(const Workspace& in, const FileKey& key, Told* told) {
  for (const auto& [id, wish] : in.waits) {
    if (wish.ino == key.ino && wish.flock == key.flock && Conflict(in, wish) == nullptr) {
      told->emplace(id.first, key.ino);
    }
  }
}

bool LockTable::WouldDeadlock(const Workspace& in, const LockWish& wish) {
  std::set<LockOwner> seen;
  std::vector<const LockWish*> next{&wish};
  while (!next.empty()) {
    const LockWish& waiting = *next.back();
    next.pop_back();
    const auto file = in.files.find({waiting.ino, waiting.flock});
    if (file == in.files.end()) continue;
    for (const LockSpec& held : file->second) {
      if (!Conflicts(held, waiting.lock)) continue;
      if (held.owner == wish.lock.owner) return true;
      if (!seen.insert(held.owner).second) continue;
      for (const auto& [id, other] : in.waits) {
        if (other.process && other.lock.owner == held.owner) next.push_back(&other);
      }
    }
  }
  return false;
}

LockAnswer LockTable::Set(WorkspaceKey ws, const LockWish& wish,
                          std::optional<LockSpec>* conflict) {
  Told told;
  LockAnswer answer = LockAnswer::kDone;
  {
    std::lock_guard lock(mu_);
    Workspace& in = workspaces_[ws];
    const SessionId& session = wish.lock.owner.session;
    if (!in.known.contains(session)) return LockAnswer::kUnknown;
    const bool unlock = wish.lock.mode == LockMode::kUnlock;
    if (!unlock && !in.expected.empty()) return LockAnswer::kGrace;
    const LockSpec* held = Conflict(in, wish);
    if (held != nullptr) *conflict = *held;
    if (wish.test_only) return held != nullptr ? LockAnswer::kHeld : LockAnswer::kDone;
    const FileKey key{wish.ino, wish.flock};
    in.waits.erase({session, wish.wait});
    if (held == nullptr) {
      const auto file = in.files.find(key);
      if (!unlock && file != in.files.end() && file->second.size() >= kMaxLocksPerInode) {
        return LockAnswer::kFull;
      }
      Put(&in, wish);
    } else {
      answer = LockAnswer::kHeld;
      if (wish.flock) {  // as on Linux: what the owner has goes first
        LockWish none = wish;
        none.lock.mode = LockMode::kUnlock;
        Put(&in, none);
      }
      if (wish.wait != 0 && wish.process && WouldDeadlock(in, wish)) {
        answer = LockAnswer::kDeadlock;
      } else if (wish.wait != 0 && in.waits.size() >= kMaxWaits) {
        answer = LockAnswer::kFull;
      } else if (wish.wait != 0) {
        in.waits[{session, wish.wait}] = wish;
      }
    }
    if (held == nullptr || wish.flock) Free(in, key, &told);
  }
  Tell(ws, told);
  return answer;
}

void LockTable::CancelWait(WorkspaceKey ws, const SessionId& session, uint64_t wait) {
  std::lock_guard lock(mu_);
  workspaces_[ws].waits.erase({session, wait});
}

bool LockTable::Assert(WorkspaceKey ws, const SessionId& session, const std::vector<LockWish>& held,
                       std::vector<LockWish>* lost) {
  Told told;
  bool in_time = true;
  {
    std::lock_guard lock(mu_);
    Workspace& in = workspaces_[ws];
    std::set<FileKey> before;
    for (auto& [key, locks] : in.files) {
      if (std::erase_if(locks, [&](const LockSpec& one) { return one.owner.session == session; })) {
        before.insert(key);
      }
    }
    std::erase_if(in.files, [](const auto& file) { return file.second.empty(); });
    in_time = in.expired.erase(session) == 0;
    if (in_time) {
      for (const LockWish& wish : held) {
        if (Conflict(in, wish) != nullptr) {
          lost->push_back(wish);
        } else {
          Put(&in, wish);
        }
      }
    }
    in.known.insert(session);
    const bool grace_ends = in.expected.erase(session) != 0 && in.expected.empty();
    if (grace_ends) {
      for (const auto& [id, wish] : in.waits) before.insert({wish.ino, wish.flock});
    }
    for (const FileKey& key : before) Free(in, key, &told);
  }
  Tell(ws, told);
  return in_time;
}

void LockTable::Expect(WorkspaceKey ws, const SessionId& session) {
  std::lock_guard lock(mu_);
  workspaces_[ws].expected.insert(session);
}

void LockTable::Drop(Workspace* in, const SessionId& session, Told* told) {
  std::erase_if(in->waits, [&](const auto& wait) { return wait.first.first == session; });
  in->known.erase(session);
  in->expected.erase(session);
  std::vector<FileKey> freed;
  for (auto& [key, locks] : in->files) {
    if (std::erase_if(locks, [&](const LockSpec& one) { return one.owner.session == session; })) {
      freed.push_back(key);
    }
  }
  std::erase_if(in->files, [](const auto& file) { return file.second.empty(); });
  for (const FileKey& key : freed) Free(*in, key, told);
}

void LockTable::Expire(WorkspaceKey ws, const SessionId& session) {
  Told told;
  {
    std::lock_guard lock(mu_);
    Drop(&workspaces_[ws], session, &told);
    workspaces_[ws].expired.insert(session);
  }
  Tell(ws, told);
}

void LockTable::ReleaseSession(WorkspaceKey ws, const SessionId& session) {
  Told told;
  {
    std::lock_guard lock(mu_);
    Drop(&workspaces_[ws], session, &told);
    workspaces_[ws].expired.erase(session);
  }
  Tell(ws, told);
}

void LockTable::Tell(WorkspaceKey ws, const Told& told) const {
  for (const auto& [session, inode] : told) notify_(ws, session, inode);
}

}  // namespace airstore::gateway
