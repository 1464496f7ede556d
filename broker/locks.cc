// SPDX-License-Identifier: Apache-2.0
#include "broker/locks.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <set>

#include "broker/clock.h"

namespace airstore::broker {
namespace {

constexpr size_t kMostLocks = 65536;    // of one file
constexpr size_t kMostWaiters = 65536;  // of a session
// Between the close of the last descriptor and the news that the file is closed.
constexpr int64_t kClosingNs = 50'000'000;

bool IsUnlock(const LockCall& call) { return call.range.type == LockType::kUnlock; }

// What the owner of one does changes what the other one has given it.
bool IsOver(const LockCall& one, const LockCall& other) {
  return one.inode == other.inode && one.flock == other.flock &&
         one.range.owner == other.range.owner && one.range.first <= other.range.last &&
         other.range.first <= one.range.last;
}

}  // namespace

bool WaitsForOpenFileLock(uint32_t thread) {
  if (thread == 0) return false;
  const UniqueFd file(
      open(("/proc/" + std::to_string(thread) + "/syscall").c_str(), O_RDONLY | O_CLOEXEC));
  char text[256] = {};
  if (!file || read(file.get(), text, sizeof(text) - 1) <= 0) return false;
  unsigned long long command = 0;  // number, descriptor, command, ...
  return sscanf(text, "%*s %*s %llx", &command) == 1 && command == F_OFD_SETLKW;
}

Locks::Locks(boost::asio::any_io_executor executor, Tasks* tasks, Gateway* gateway,
             SessionJournal* journal, InodeCache* inodes, MountSet* mounts, int64_t patience_ns)
    : executor_(executor),
      tasks_(tasks),
      gateway_(gateway),
      journal_(journal),
      inodes_(inodes),
      mounts_(mounts),
      patience_ns_(patience_ns),
      turn_over_(executor),
      asserted_event_(executor) {}

int Locks::Check(const LockCall& call) const {
  if (call.range.first > call.range.last) return EINVAL;
  if (inodes_->IndexOf(call.inode) == shm::kNoIndex) return ESTALE;
  return 0;
}

int Locks::Set(const LockCall& call, const Asker& asker) {
  const Request request{call.range.owner.mount, asker.unique};
  if (requests_.contains(request)) return kDeferred;
  if (const int error = Check(call); error != 0) return error;
  if (mounts_->Find(call.range.owner.mount) == nullptr) return ESTALE;  // it ended meanwhile
  ForgetGrants(
      [&](const Grant& grant) { return grant.request != request && IsOver(grant.call, call); });
  if (TakeLost(call)) return ENOLCK;
  const LockRange* held = table().Conflict(call);
  if (held == nullptr && !IsUnlock(call) && table().size(call.inode) >= kMostLocks) return ENOLCK;
  if (held == nullptr && !shared_) {
    if (!IsUnlock(call)) NoteGrant(request, call);
    return Change(LockRecord::Action::kSet, call);
  }
  const bool closing = IsClosing(call);
  if (held != nullptr && call.flock) GiveUpOwn(call);
  if (!shared_ && !asker.wait && !closing) return EAGAIN;
  if (std::find(interrupted_.begin(), interrupted_.end(), request) != interrupted_.end()) {
    return EINTR;
  }
  if (requests_.size() >= kMostWaiters) return ENOLCK;
  if (!shared_ && asker.wait && !call.flock && WouldDeadlock(call, asker.thread)) return EDEADLK;
  if (Record(LockRecord::Action::kWait, call, asker.unique) != 0) return ENOLCK;
  if (shared_) return StartAsking(call, asker);
  const WaiterPtr waiter = Wait(call, asker);
  if (!asker.wait) tasks_->Spawn(NotForLong(waiter));
  return kDeferred;
}

// Who stands in the way may have closed its file, and the kernel has not said so yet.
bool Locks::IsClosing(const LockCall& call) const {
  const LockRange* held = table().Conflict(call);
  return held != nullptr && table().ClosedSince(call, held->owner, MonotonicNs() - kClosingNs);
}

// As on a local file system: whoever wants another type of flock first gives up what it has.
void Locks::GiveUpOwn(const LockCall& call) {
  LockCall unlock = call;
  unlock.range.type = LockType::kUnlock;
  Change(LockRecord::Action::kSet, unlock);
}

Locks::WaiterPtr Locks::Wait(const LockCall& call, const Asker& asker) {
  auto waiter = std::make_shared<Waiter>(executor_, call, asker);
  waiting_[call.inode].push_back(waiter);
  requests_[RequestOf(*waiter)] = waiter;
  Publish(call.inode);
  return waiter;
}

bool Locks::IsWaiting(const WaiterPtr& waiter) const {
  const auto found = requests_.find(RequestOf(*waiter));
  return found != requests_.end() && found->second == waiter;
}

Task<void> Locks::NotForLong(WaiterPtr waiter) {
  boost::asio::steady_timer timer(executor_, std::chrono::nanoseconds(kClosingNs));
  co_await timer.async_wait(boost::asio::use_awaitable);
  if (IsWaiting(waiter) && !waiter->asking) Answer(waiter, EAGAIN);
}

void Locks::NoteGrant(const Request& request, const LockCall& call) {
  if (Grant* known = FindGrant(request)) {
    known->undelivered = false;
    return;
  }
  for (size_t i = 0; i < grants_.size() && grants_[next_grant_ % grants_.size()].undelivered; ++i) {
    ++next_grant_;
  }
  grants_[next_grant_++ % grants_.size()] = {request, call, table().Own(call)};
}

Locks::Grant* Locks::FindGrant(const Request& request) {
  const auto found = std::find_if(grants_.begin(), grants_.end(), [&](const Grant& grant) {
    return grant.request == request && grant.call.inode != 0;
  });
  return found == grants_.end() ? nullptr : &*found;
}

void Locks::ForgetGrants(const std::function<bool(const Grant&)>& which) {
  for (Grant& grant : grants_) {
    if (grant.call.inode != 0 && which(grant)) grant = {};
  }
}

void Locks::TakeBack(uint32_t mount, uint64_t unique) {
  Grant* found = FindGrant({mount, unique});
  if (found == nullptr) return;
  const Grant grant = std::exchange(*found, {});
  LockCall call = grant.call;
  call.range.type = LockType::kUnlock;
  if (Record(LockRecord::Action::kSet, call, 0) != 0) return;
  for (const LockRange& range : grant.before) {
    call.range = range;
    Record(LockRecord::Action::kSet, call, 0);
  }
  Publish(call.inode);
  if (shared_) AssertAgain();
  ServeWaiters(call.inode);
}

void Locks::Interrupt(uint32_t mount, uint64_t unique) {
  const Request request{mount, unique};
  const auto found = requests_.find(request);
  const bool waits = found != requests_.end();
  if (waits) {
    const WaiterPtr waiter = found->second;  // Answer takes it out
    Settle(waiter, waiter->done ? 0 : EINTR);
  }
  // Its frontend, which could not reach us, has let the client go before we granted this.
  if (const Grant* grant = FindGrant(request); grant != nullptr && grant->undelivered) {
    return TakeBack(mount, unique);
  }
  if (!waits) interrupted_[next_interrupted_++ % interrupted_.size()] = request;
}

void Locks::ReleaseMount(uint32_t mount) {
  std::vector<WaiterPtr> gone;
  for (const auto& [request, waiter] : requests_) {
    if (request.first == mount) gone.push_back(waiter);
  }
  for (const WaiterPtr& waiter : gone) Forget(waiter);
  ForgetGrants([&](const Grant& grant) { return grant.request.first == mount; });
  std::erase_if(lost_, [&](const LockCall& lost) { return lost.range.owner.mount == mount; });
  for (Request& request : interrupted_) {
    if (request.first == mount) request = {};
  }
  std::set<uint64_t> inodes;
  table().ForEach([&](const LockCall& held) {
    if (held.range.owner.mount == mount) inodes.insert(held.inode);
  });
  if (gone.empty() && inodes.empty()) return;
  LockCall call;
  call.range.owner.mount = mount;
  Record(LockRecord::Action::kReleaseMount, call, 0);
  for (const uint64_t inode : inodes) {
    Publish(inode);
    ServeWaiters(inode);
  }
  AssertAgain();
}

void Locks::Resume() {
  std::set<uint32_t> gone;
  std::set<uint64_t> inodes;
  table().ForEach([&](const LockCall& held) {
    inodes.insert(held.inode);
    const uint32_t mount = held.range.owner.mount;
    if (mounts_->Find(mount) == nullptr) gone.insert(mount);
  });
  for (const LockState::Waiting& one : journal_->locks().waiting) {
    const uint32_t mount = one.call.range.owner.mount;
    if (mounts_->Find(mount) == nullptr) gone.insert(mount);
  }
  for (const uint32_t mount : gone) {
    LockCall call;
    call.range.owner.mount = mount;
    Record(LockRecord::Action::kReleaseMount, call, 0);
  }
  const std::vector<LockState::Waiting> waiting = journal_->locks().waiting;
  for (const LockState::Waiting& one : waiting) {
    inodes.insert(one.call.inode);
    if (requests_.contains({one.call.range.owner.mount, one.unique})) continue;
    const WaiterPtr waiter = Wait(one.call, {one.unique, 0, true});
    if (one.granted) {
      // What it had before is not known any more.
      NoteGrant(RequestOf(*waiter), one.call);
      if (Grant* grant = FindGrant(RequestOf(*waiter))) grant->before.clear();
      Answer(waiter, 0);
    } else if (shared_) {
      waiter->asking = true;
      tasks_->Spawn(Ask(waiter));
    }
  }
  for (const uint64_t inode : inodes) Publish(inode);
  tasks_->Spawn(ServeAllSoon());
}

// First the lanes are to tell who has given up meanwhile.
Task<void> Locks::ServeAllSoon() {
  boost::asio::steady_timer timer(executor_, std::chrono::milliseconds(100));
  co_await timer.async_wait(boost::asio::use_awaitable);
  std::vector<uint64_t> inodes;
  for (const auto& [inode, waiters] : waiting_) inodes.push_back(inode);
  for (const uint64_t inode : inodes) ServeWaiters(inode);
}

int Locks::Record(LockRecord::Action action, const LockCall& call, uint64_t unique) {
  if (action != LockRecord::Action::kWait && action != LockRecord::Action::kAnswered) ++version_;
  auto done = journal_->Append(LockRecord{action, call, unique}, MonotonicNs());
  if (done) return 0;
  spdlog::warn("a lock of inode {} cannot be written down: {}", call.inode,
               done.error().ToString());
  return ENOLCK;
}

int Locks::Change(LockRecord::Action action, const LockCall& call, uint64_t unique) {
  if (const int error = Record(action, call, unique); error != 0) return error;
  Publish(call.inode);
  if (unique == 0) ServeWaiters(call.inode);
  return 0;
}

void Locks::Forget(const WaiterPtr& waiter) {
  requests_.erase(RequestOf(*waiter));
  Poke(waiter);
  waiter->limit.cancel();
  const auto file = waiting_.find(waiter->call.inode);
  std::erase(file->second, waiter);
  if (!file->second.empty()) return;
  waiting_.erase(file);
  Publish(waiter->call.inode);
}

void Locks::Settle(const WaiterPtr& waiter, int error) {
  if (error != 0 && waiter->granted) {
    const Request request = RequestOf(*waiter);
    if (FindGrant(request) != nullptr) {
      TakeBack(request.first, request.second);
    } else {
      GiveUpOwn(waiter->call);
      AssertAgain();
    }
  }
  Answer(waiter, error);
}

void Locks::Answer(const WaiterPtr& waiter, int error) {
  Forget(waiter);
  const uint32_t mount = waiter->call.range.owner.mount;
  // One that is to be sent again does not arrive; it finds out when it comes.
  MountPort* port = mounts_->Find(mount);
  const bool told = port != nullptr && port->AnswerRequest(waiter->asker.unique, error);
  if (Grant* grant = FindGrant(RequestOf(*waiter))) {
    if (told || error != 0) {
      *grant = {};
    } else {
      grant->undelivered = true;
    }
  }
  Record(LockRecord::Action::kAnswered, waiter->call, waiter->asker.unique);
}

void Locks::ServeWaiters(uint64_t inode) {
  while (!shared_) {
    const auto file = waiting_.find(inode);
    if (file == waiting_.end()) return;
    const auto next = std::find_if(
        file->second.begin(), file->second.end(),
        [&](const WaiterPtr& waiter) { return table().Conflict(waiter->call) == nullptr; });
    if (next == file->second.end()) return;
    const WaiterPtr waiter = *next;
    NoteGrant(RequestOf(*waiter), waiter->call);
    Answer(waiter, Change(LockRecord::Action::kSet, waiter->call, waiter->asker.unique));
  }
}

// What frontends have to tell us of closes.
void Locks::Publish(uint64_t inode) {
  const auto record = inodes_->Get(inode);
  if (!record) return;
  const bool locked = table().HasLocks(inode) || waiting_.contains(inode) ||
                      std::any_of(lost_.begin(), lost_.end(),
                                  [&](const LockCall& lost) { return lost.inode == inode; });
  if (locked == ((record->flags & shm::kHasLocks) != 0)) return;
  inodes_->Update(inode, [locked](shm::InodeRecord& changed) {
    changed.flags &= ~static_cast<uint32_t>(shm::kHasLocks);
    if (locked) changed.flags |= shm::kHasLocks | shm::kHadLocks;
  });
}

// Whether somebody it would wait for waits for it, directly or through others. Open files (OFD) are
// no processes: another thread may unlock what one that waits has locked.
bool Locks::WouldDeadlock(const LockCall& call, uint32_t thread) const {
  std::set<LockOwner> seen;
  std::vector<LockOwner> next = table().Holders(call);
  bool found = false;
  while (!next.empty() && !found) {
    const LockOwner holder = next.back();
    next.pop_back();
    if (holder == call.range.owner) {
      found = true;
    } else if (seen.insert(holder).second) {
      for (const auto& [request, waiter] : requests_) {
        if (waiter->call.flock || waiter->call.range.owner != holder) continue;
        if (WaitsForOpenFileLock(waiter->asker.thread)) continue;
        for (const LockOwner& owner : table().Holders(waiter->call)) next.push_back(owner);
      }
    }
  }
  return found && !WaitsForOpenFileLock(thread);
}

}  // namespace airstore::broker
