// SPDX-License-Identifier: Apache-2.0
//
// Locks while other hosts work in the workspace: the gateway is asked, one question at a time for
// each file, and what is held here follows its answers.
#include <spdlog/spdlog.h>

#include <algorithm>

#include "broker/backoff.h"
#include "broker/clock.h"
#include "broker/locks.h"

namespace airstore::broker {
namespace {

using std::chrono::milliseconds;

constexpr int kNoAnswer = -2;
constexpr milliseconds kShortestPause{20};
constexpr milliseconds kLongestPause{2000};
// News of a lock that has become free may be lost on the way.
constexpr milliseconds kAskAgain{10'000};

bool IsUnlock(const LockCall& call) { return call.range.type == LockType::kUnlock; }

LockCall Nothing(uint64_t inode, bool flock, const LockOwner& owner) {
  return {inode, flock, {owner, LockType::kUnlock, 0, INT64_MAX, 0}, 0};
}

}  // namespace

void Locks::Stop() {
  stopping_ = true;
  PokeAll();
  for (const auto& [request, waiter] : requests_) waiter->limit.cancel();
  asserted_event_.NotifyAll();
}

Task<void> Locks::Share() {
  if (!shared_) {
    shared_ = true;
    asserted_ = false;
    std::vector<WaiterPtr> here;
    for (const auto& [inode, waiters] : waiting_) {
      for (const WaiterPtr& waiter : waiters) here.push_back(waiter);
    }
    for (const WaiterPtr& waiter : here) {
      if (std::exchange(waiter->asking, true)) continue;
      tasks_->Spawn(Ask(waiter));
    }
  }
  co_await Asserted();
}

void Locks::Alone() {
  shared_ = false;
  PokeAll();
  asserted_event_.NotifyAll();
}

void Locks::OnFreed(uint64_t inode) {
  const auto file = waiting_.find(inode);
  if (file == waiting_.end()) return;
  for (const WaiterPtr& waiter : file->second) Poke(waiter);
}

void Locks::OnReconnected() {
  AssertAgain();
  PokeAll();
}

void Locks::Poke(const WaiterPtr& waiter) {
  waiter->news = true;
  waiter->pause.cancel();
}

void Locks::PokeAll() {
  for (const auto& [request, waiter] : requests_) Poke(waiter);
}

Task<void> Locks::TakeTurn(uint64_t inode) {
  while (!turns_.insert(inode).second) co_await turn_over_.Wait();
}

void Locks::EndTurn(uint64_t inode) {
  turns_.erase(inode);
  turn_over_.NotifyAll();
}

Task<void> Locks::Asserted() {
  if (!asserted_ && !asserting_) {
    asserting_ = true;
    tasks_->Spawn(Assert());
  }
  while (!asserted_ && shared_ && !stopping_) co_await asserted_event_.Wait();
}

void Locks::AssertAgain() {
  asserted_ = false;
  ++version_;  // what is being asserted is not enough
  if (shared_ && !stopping_) tasks_->Spawn(Asserted());
}

Task<void> Locks::Assert() {
  Backoff backoff;
  while (!asserted_ && shared_ && !stopping_) {
    std::vector<LockCall> held;
    table().ForEach([&](const LockCall& call) { held.push_back(call); });
    const uint64_t version = version_;
    ++asserts_;
    auto answer = co_await gateway_->AssertLocks(held);
    if (!answer) {
      if (answer.error().code != EAGAIN) {
        spdlog::warn("telling the gateway what is locked: {}", answer.error().ToString());
      }
      co_await backoff.Wait(executor_);
      continue;
    }
    asserted_ = version == version_;
    if (answer->lapsed && !held.empty()) {
      spdlog::error("the gateway has not heard of us for too long: {} locks are lost", held.size());
    }
    for (const LockCall& call : answer->lapsed ? held : answer->lost) Lose(call);
  }
  asserting_ = false;
  asserted_event_.NotifyAll();
  // Their wishes went with what was known.
  for (const auto& [request, waiter] : requests_) {
    if (waiter->wished) Poke(waiter);
  }
}

// Its owner hears of it when it uses locks of the file again.
void Locks::Lose(const LockCall& call) {
  ForgetGrants([&](const Grant& grant) {
    return grant.call.inode == call.inode && grant.call.range.owner == call.range.owner;
  });
  lost_.push_back(call);
  Change(LockRecord::Action::kSet, Nothing(call.inode, call.flock, call.range.owner));
}

bool Locks::TakeLost(const LockCall& call) {
  return std::erase_if(lost_, [&](const LockCall& lost) {
           return lost.inode == call.inode && lost.flock == call.flock &&
                  lost.range.owner == call.range.owner;
         }) != 0;
}

int Locks::StartAsking(const LockCall& call, const Asker& asker) {
  const WaiterPtr waiter = Wait(call, asker);
  waiter->asking = true;
  tasks_->Spawn(Ask(waiter));
  return kDeferred;
}

Task<void> Locks::Pause(WaiterPtr waiter, milliseconds time) {
  if (std::exchange(waiter->news, false)) co_return;
  waiter->pause.expires_after(time);
  boost::system::error_code ignored;
  co_await waiter->pause.async_wait(
      boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
}

Task<void> Locks::Ask(WaiterPtr waiter) {
  const uint64_t inode = waiter->call.inode;
  if (!waiter->asker.wait) tasks_->Spawn(EndAtLimit(waiter));
  milliseconds pause = kShortestPause;
  bool once_more = !waiter->asker.wait && IsClosing(waiter->call);
  while (IsWaiting(waiter) && !stopping_) {
    waiter->news = false;
    // Not in the file's turn, or who unlocks would wait for the gateway, too.
    if (!IsUnlock(waiter->call)) co_await Ready(waiter->call);
    co_await TakeTurn(inode);
    int error = kNoAnswer;
    if (!shared_) {
      DecideHere(waiter);
      EndTurn(inode);
      break;
    }
    if (IsWaiting(waiter)) error = co_await AskGateway(waiter);
    EndTurn(inode);
    if (!IsWaiting(waiter)) break;
    if (error == kNoAnswer) {
      co_await Pause(waiter, pause);
      pause = std::min(pause * 2, kLongestPause);
    } else if (error == EAGAIN && waiter->asker.wait) {
      waiter->wished = true;
      co_await Pause(waiter, kAskAgain);
      waiter->wished = false;
    } else if (error == EAGAIN && std::exchange(once_more, false)) {
      co_await Pause(waiter, kShortestPause);
    } else {
      if (error == 0 && !IsUnlock(waiter->call)) error = co_await coherence_.refresh(inode);
      if (IsWaiting(waiter)) Settle(waiter, error);
    }
  }
  waiter->asking = false;
  if (waiter->left != 0 && shared_ && !stopping_) (void)co_await gateway_->CancelLock(waiter->left);
}

// Before a lock is asked for. What was written under one that becomes a shared one goes first.
Task<void> Locks::Ready(LockCall call) {
  co_await Asserted();
  if (shared_ && call.range.type == LockType::kShared && table().HasLocks(call.inode)) {
    co_await coherence_.publish(call.inode);
  }
}

// Wherever its question hangs. An unlock that waits for what was written is not given up: hardly
// anybody tries one again.
Task<void> Locks::EndAtLimit(WaiterPtr waiter) {
  if (!IsWaiting(waiter) || stopping_) co_return;
  waiter->limit.expires_after(std::chrono::nanoseconds(patience_ns_));
  boost::system::error_code ignored;
  co_await waiter->limit.async_wait(
      boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
  if (!IsWaiting(waiter) || stopping_) co_return;
  if (waiter->done || !IsUnlock(waiter->call)) Settle(waiter, waiter->done ? 0 : ETIMEDOUT);
}

// REQUIRES: the file's turn. kNoAnswer: to be asked again.
Task<int> Locks::AskGateway(WaiterPtr waiter) {
  const LockCall call = waiter->call;
  const bool unlock = IsUnlock(call);
  if (unlock && table().HasLocks(call.inode)) co_await coherence_.publish(call.inode);
  // Whoever unlocks does not wait for the gateway: it hears of it when it is there.
  if (unlock && IsWaiting(waiter)) {
    Change(LockRecord::Action::kSet, call, waiter->asker.unique);
    waiter->done = true;
  }
  if (!IsWaiting(waiter) || !shared_ || (!unlock && !asserted_)) co_return kNoAnswer;
  if (!unlock && TakeLost(call)) co_return ENOLCK;
  LockAsk ask;
  if (waiter->asker.wait) {
    if (waiter->left == 0) waiter->left = next_left_++;
    ask.wait = waiter->left;
    ask.process = !call.flock && !WaitsForOpenFileLock(waiter->asker.thread);
  }
  const uint64_t asserts = asserts_;
  auto verdict = co_await gateway_->Lock(call, ask);
  const bool wanted = IsWaiting(waiter);
  // What was asserted meanwhile is without it, and may have come later.
  if (!verdict || verdict->assert_first || (verdict->error == 0 && asserts != asserts_)) {
    AssertAgain();
    co_return unlock ? 0 : kNoAnswer;
  }
  if (unlock) co_return 0;
  if (verdict->error != EAGAIN) waiter->left = 0;
  if (verdict->error == 0) {
    if (wanted) NoteGrant(RequestOf(*waiter), call);
    const int error =
        wanted ? Change(LockRecord::Action::kSet, call, waiter->asker.unique) : ECANCELED;
    if (error != 0) AssertAgain();  // without it
    waiter->granted = error == 0;
    co_return error;
  }
  if (call.flock) GiveUpOwn(call);
  co_return verdict->error;
}

// The lease was granted while it waited.
void Locks::DecideHere(const WaiterPtr& waiter) {
  if (!IsWaiting(waiter)) return;
  waiter->asking = false;
  waiter->left = 0;
  const LockCall& call = waiter->call;
  if (table().Conflict(call) == nullptr) {
    if (!IsUnlock(call)) NoteGrant(RequestOf(*waiter), call);
    const int error = Change(LockRecord::Action::kSet, call, waiter->asker.unique);
    Answer(waiter, error);
    ServeWaiters(call.inode);
  } else if (!waiter->asker.wait) {
    Answer(waiter, EAGAIN);
  } else if (!call.flock && WouldDeadlock(call, waiter->asker.thread)) {
    Answer(waiter, EDEADLK);
  }
}

Task<Result<std::optional<LockRange>>> Locks::Test(LockCall call) {
  std::optional<LockRange> conflict;
  if (const LockRange* held = table().Conflict(call)) conflict = *held;
  if (!shared_ || conflict) co_return conflict;
  const int64_t deadline = MonotonicNs() + patience_ns_;
  Backoff backoff;
  while (shared_ && !stopping_) {
    co_await Asserted();
    LockAsk ask;
    ask.test = true;
    auto verdict = co_await gateway_->Lock(call, ask);
    if (verdict && !verdict->assert_first) co_return verdict->conflict;
    if (verdict) AssertAgain();
    if (MonotonicNs() > deadline) co_return Error{ETIMEDOUT, "the gateway does not answer"};
    co_await backoff.Wait(executor_);
  }
  co_return conflict;
}

Task<void> Locks::Flush(LockCall call) {
  ForgetGrants([&](const Grant& grant) {
    return grant.call.inode == call.inode && !grant.call.flock &&
           grant.call.range.owner == call.range.owner;
  });
  std::erase_if(lost_, [&](const LockCall& lost) {
    return lost.inode == call.inode && !lost.flock && lost.range.owner == call.range.owner;
  });
  std::vector<LockOwner> owners;
  if (table().FlushTakes(call)) owners.push_back(call.range.owner);
  co_await Drop(LockRecord::Action::kFlush, call, std::move(owners));
}

Task<void> Locks::Release(LockCall call) {
  ForgetGrants([&](const Grant& grant) { return WaitsThrough(grant.call, call); });
  if (const auto file = waiting_.find(call.inode); file != waiting_.end()) {
    std::vector<WaiterPtr> closed;
    std::copy_if(file->second.begin(), file->second.end(), std::back_inserter(closed),
                 [&](const WaiterPtr& waiter) { return WaitsThrough(waiter->call, call); });
    for (const WaiterPtr& waiter : closed) Forget(waiter);
  }
  std::erase_if(lost_, [&](const LockCall& lost) {
    return lost.inode == call.inode && lost.handle == call.handle &&
           lost.range.owner.mount == call.range.owner.mount;
  });
  co_await Drop(LockRecord::Action::kRelease, call, table().OwnersThrough(call));
}

Task<void> Locks::Drop(LockRecord::Action action, LockCall call, std::vector<LockOwner> owners) {
  const bool tell = shared_ && !owners.empty();
  if (tell) co_await TakeTurn(call.inode);
  Change(action, call);
  if (!tell) co_return;
  for (const LockOwner& owner : owners) {
    for (const bool flock : {false, true}) {
      if (flock && action == LockRecord::Action::kFlush) continue;
      auto verdict = co_await gateway_->Lock(Nothing(call.inode, flock, owner), LockAsk{});
      if (!verdict || verdict->assert_first) AssertAgain();
    }
  }
  EndTurn(call.inode);
}

}  // namespace airstore::broker
