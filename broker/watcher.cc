// SPDX-License-Identifier: Apache-2.0
#include "broker/watcher.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <random>

#include "broker/backoff.h"
#include "broker/clock.h"
#include "broker/deadline.h"

namespace airstore::broker {
namespace {

constexpr int64_t kAskEveryNs = 2'000'000'000;
constexpr int64_t kShortestAskNs = 250'000'000;
constexpr int64_t kLongestAskNs = 30'000'000'000;
constexpr int64_t kHeldLongNs = 10'000'000'000;
constexpr size_t kRecallsKept = 64;
constexpr auto kShortestRetry = std::chrono::milliseconds(20);
constexpr auto kLongestRetry = std::chrono::milliseconds(2000);
constexpr auto kArrivalPoll = std::chrono::milliseconds(50);

}  // namespace

Watcher::Watcher(boost::asio::any_io_executor executor, Tasks* tasks, Gateway* gateway, Tree* tree,
                 Contents* contents, MutationLog* log, Locks* locks, const OpenedSession& opened,
                 Reopen reopen)
    : executor_(executor),
      tasks_(tasks),
      gateway_(gateway),
      tree_(tree),
      contents_(contents),
      log_(log),
      locks_(locks),
      reopen_(std::move(reopen)),
      may_write_(!opened.read_only),
      cursor_(opened.watch_cursor),
      advanced_(executor),
      retry_(executor) {}

// As long as the gateway says nothing else, the lease is held: what is acknowledged under one that
// has ended is refused, and sent without.
void Watcher::Adopt(const WatchRecord& left) {
  cursor_ = left.cursor;
  lease_id_ = left.lease_id;
  arrived_ = true;
  log_->SetLease(lease_id_);
  tree_->SetLease(lease_id_ != 0);
  if (lease_id_ != 0) {
    locks_->Alone();
  } else if (!gateway_->traits().lone_locks) {
    tasks_->Spawn(locks_->Share());
  }
}

void Watcher::Note() { log_->NoteWatch(WatchRecord{cursor_, lease_id_}); }

void Watcher::Start() { tasks_->Spawn(Follow()); }

void Watcher::Stop() {
  stopping_ = true;
  if (stream_) stream_->Cancel();
  retry_.cancel();
  advanced_.NotifyAll();
}

Task<void> Watcher::Follow() {
  auto pause = kShortestRetry;
  std::minstd_rand random{std::random_device{}()};
  while (!stopping_) {
    stream_ = gateway_->Watch(cursor_);
    Error why{0, {}};
    while (!stopping_) {
      auto event = co_await stream_->Next();
      if (!event) {
        why = event.error();
        break;
      }
      pause = kShortestRetry;
      co_await ActUpon(std::move(*event));
    }
    stream_.reset();
    if (stopping_) break;
    if (retries_.Due()) spdlog::info("watching the workspace: {}; again soon", why.ToString());
    if (why.code == ESTALE) (void)co_await reopen_();
    locks_->OnReconnected();
    std::uniform_int_distribution<int64_t> jitter(pause.count() / 2, pause.count());
    retry_.expires_after(std::chrono::milliseconds(jitter(random)));
    pause = std::min(pause * 2, kLongestRetry);
    boost::system::error_code ignored;
    co_await retry_.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
  }
}

Task<void> Watcher::ActUpon(WatchEvent event) {
  if (event.lease_recall != 0) {
    tasks_->Spawn(GiveBack(event.lease_recall));
  } else if (event.lock_freed != 0) {
    locks_->OnFreed(event.lock_freed);
  } else if (event.forget != 0) {
    tasks_->Spawn(ForgetZone(event.forget));
  } else if (event.gap) {
    co_await Gap();
  } else if (event.aged) {
    co_await tree_->Age(std::move(event.inodes), std::move(event.directories));
  } else {
    co_await tree_->ApplyRemote(std::move(event.inodes), std::move(event.names));
  }
  cursor_ = event.cursor;
  Note();
  advanced_.NotifyAll();
  if (!acknowledging_ && event.lease_recall == 0 && event.lock_freed == 0 && event.forget == 0) {
    acknowledging_ = true;
    tasks_->Spawn(Acknowledge());
  }
}

// Whoever held the lease all along has missed nothing. Of zones that is not known: what was
// registered may be gone with the session's life.
Task<void> Watcher::Gap() {
  for (const auto& [zone, held] : zones_) {
    if (held.lease != 0) tasks_->Spawn(GiveBackZone(zone));
  }
  if (const uint64_t lease_id = lease_id_; lease_id != 0) {
    const auto held = co_await gateway_->KeepAlive();
    if (held && *held == lease_id && lease_id_ == lease_id) co_return;
  }
  spdlog::warn("events of other hosts were lost: everything cached is asked for again");
  co_await tree_->ForgetAll();
}

Task<void> Watcher::Acknowledge() {
  while (acknowledged_ != cursor_ && !stopping_) {
    const uint64_t cursor = cursor_;
    auto done = co_await gateway_->AckWatch(cursor);
    // When it does not arrive the gateway ends the stream, and the next one begins with a gap.
    if (!done) break;
    acknowledged_ = cursor;
  }
  acknowledging_ = false;
}

void Watcher::LoseLease() {
  lease_id_ = 0;
  log_->SetLease(0);
  tree_->SetLease(false);
  Note();
  tasks_->Spawn(locks_->Share());
}

Task<void> Watcher::Release(uint64_t lease_id) {
  NoteGone(lease_id);
  Backoff backoff;
  while (!stopping_) {
    auto released = co_await gateway_->ReleaseLease(lease_id);
    if (released || released.error().code != EAGAIN) break;
    co_await backoff.Wait(executor_);
  }
}

Task<void> Watcher::GiveBack(uint64_t lease_id) {
  NoteGone(lease_id);
  const auto of_zone = std::find_if(zones_.begin(), zones_.end(), [lease_id](const auto& zone) {
    return zone.second.lease == lease_id;
  });
  if (of_zone != zones_.end()) co_return co_await GiveBackZone(of_zone->first);
  if (lease_id_ == lease_id) {
    if (giving_back_) co_return;
    giving_back_ = true;
    spdlog::info("another host has come: giving back the write lease");
    tree_->SetLease(false);
    contents_->FlushAll();
    co_await log_->Drain();
    co_await locks_->Share();
    // Were it forgotten that these are clean, they would be sent over what others make of them.
    co_await log_->MakeDurable();
    giving_back_ = false;
    if (lease_id_ == lease_id) LoseLease();
  } else {
    // It was taken for lost, and is not: what was acknowledged under it comes first here, too.
    contents_->FlushAll();
    (void)co_await log_->DrainUnlessHeldUp();
  }
  co_await Release(lease_id);
}

Task<void> Watcher::GiveBackZone(uint64_t zone) {
  const auto found = zones_.find(zone);
  if (found == zones_.end()) co_return;
  Zone& held = found->second;
  const uint64_t lease = held.lease;
  if (lease == 0 || std::exchange(held.giving_back, true)) co_return;
  spdlog::info("giving back the write lease of {}", tree_->DirectoryPath(zone));
  log_->EndZoneLease(zone);
  const int64_t now = MonotonicNs();
  held.pause_ns = now - held.held_since_ns >= kHeldLongNs
                      ? kShortestAskNs
                      : std::min(2 * held.pause_ns, kLongestAskNs);
  held.next_ask_ns = now + held.pause_ns;
  contents_->FlushAll();
  const bool sent = co_await log_->DrainUnlessHeldUp();
  if (!sent) spdlog::warn("changes wait for another host's lease: they are sent without this one");
  co_await log_->MakeDurable();
  log_->SetZoneLease(zone, 0);
  // What is on its way may still name it.
  if (sent) (void)co_await log_->DrainUnlessHeldUp();
  held.next_ask_ns = MonotonicNs() + held.pause_ns;
  held.lease = 0;
  held.giving_back = false;
  co_await Release(lease);
}

Task<void> Watcher::ReleaseZone(uint64_t zone) {
  Zone& held = zones_[zone];
  const uint64_t lease = held.lease;
  if (lease == 0 || std::exchange(held.giving_back, true)) co_return;
  log_->SetZoneLease(zone, 0);
  // What is on its way may still name it.
  (void)co_await log_->DrainUnlessHeldUp();
  held.lease = 0;
  held.giving_back = false;
  co_await Release(lease);
}

std::vector<uint64_t> Watcher::HeldZones() const {
  std::vector<uint64_t> held;
  for (const auto& [zone, state] : zones_) {
    if (log_->HoldsZone(zone)) held.push_back(zone);
  }
  return held;
}

void Watcher::LeasesLost() {
  if (!log_->under_lease() && lease_id_ != 0) LeaseIs(0);
  // Which one has ended is not known; what was acknowledged under the others comes first.
  for (const auto& [zone, held] : zones_) {
    if (held.lease == 0 || held.giving_back || log_->HoldsZone(zone)) continue;
    tasks_->Spawn(ReleaseZone(zone));
  }
}

Task<Result<void>> Watcher::Arrive(int64_t deadline_ns) {
  Error last{EAGAIN, "another host does not give back its write lease"};
  while (!arrived_) {
    auto acquired = co_await gateway_->AcquireLease(shm::kRootInode);
    if (acquired && !acquired->held_by_other) {
      if (acquired->lease_id != 0) {
        auto hold = [](Watcher* self, AcquiredLease lease) -> Task<Result<void>> {
          co_await self->Hold(lease);
          co_return Result<void>{};
        };
        Task<Result<void>> holding = hold(this, *acquired);
        AIRSTORE_TRY_CO(co_await Before(deadline_ns, tasks_, executor_, std::move(holding)));
      }
      arrived_ = true;
      break;
    }
    if (!acquired && acquired.error().code != EAGAIN) co_return acquired.error();
    if (!acquired) last = acquired.error();
    if (MonotonicNs() > deadline_ns) co_return Error{ETIMEDOUT, last.message};
    boost::asio::steady_timer timer(executor_, kArrivalPoll);
    boost::system::error_code ignored;
    co_await timer.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
  }
  co_return Result<void>{};
}

void Watcher::Regain(uint64_t zone) {
  const int64_t now = MonotonicNs();
  if (!may_write_ || lease_id_ != 0 || stopping_) return;
  if (!asking_ && now >= next_ask_ns_) {
    asking_ = true;
    tasks_->Spawn(AskForLease());
  }
  if (zone <= shm::kRootInode || !gateway_->traits().zones) return;
  Zone& wanted = zones_[zone];
  if (wanted.lease != 0 || wanted.asking || wanted.forgetting || wanted.moves != 0) return;
  if (now < wanted.next_ask_ns) return;
  // What was long ago says nothing.
  if (now - wanted.next_ask_ns > kHeldLongNs) wanted.pause_ns = 0;
  wanted.asking = true;
  tasks_->Spawn(AskForZone(zone));
}

Task<void> Watcher::AskForLease() {
  auto acquired = co_await gateway_->AcquireLease(shm::kRootInode);
  next_ask_ns_ = MonotonicNs() + kAskEveryNs;
  if (acquired && acquired->lease_id != 0) co_await Hold(*acquired);
  asking_ = false;
}

Task<void> Watcher::AskForZone(uint64_t zone) {
  auto acquired = co_await gateway_->AcquireLease(zone);
  Zone& wanted = zones_[zone];
  wanted.pause_ns = std::clamp(2 * wanted.pause_ns, kShortestAskNs, kLongestAskNs);
  wanted.next_ask_ns = MonotonicNs() + wanted.pause_ns;
  if (acquired && acquired->lease_id != 0) {
    if (acquired->inode == zone) {
      co_await HoldZone(zone, *acquired);
    } else {
      co_await Hold(*acquired);
    }
  }
  wanted.asking = false;
}

void Watcher::NoteGone(uint64_t lease_id) {
  if (Recalled(lease_id)) return;
  recalled_.push_back(lease_id);
  if (recalled_.size() > kRecallsKept) recalled_.pop_front();
  advanced_.NotifyAll();  // for CaughtUp
}

Task<void> Watcher::BeginMoveOfZone(uint64_t zone) {
  ++zones_[zone].moves;
  co_await GiveBackZone(zone);
}

void Watcher::EndMoveOfZone(uint64_t zone) { --zones_[zone].moves; }

Task<void> Watcher::ZoneRemoved(uint64_t zone) {
  co_await GiveBackZone(zone);
  (void)co_await gateway_->ForgetZone(zone);
}

bool Watcher::Recalled(uint64_t lease_id) const {
  return std::find(recalled_.begin(), recalled_.end(), lease_id) != recalled_.end();
}

Task<bool> Watcher::CaughtUp(const AcquiredLease& lease) {
  const uint64_t id = lease.lease_id, cursor = lease.watch_cursor;
  while (cursor_ < cursor && !stopping_ && !Recalled(id)) co_await advanced_.Wait();
  co_return !stopping_ && !Recalled(id);
}

// What others changed before the grant must be known here first: from then on nobody says more.
Task<void> Watcher::Hold(AcquiredLease lease) {
  if (!co_await CaughtUp(lease) || lease_id_ == lease.lease_id) co_return;
  lease_id_ = lease.lease_id;
  // What was changed here before, or is open since, may be made of what others have replaced.
  contents_->DoubtVersions();
  log_->SetLease(lease_id_);
  tree_->SetLease(true);
  Note();
  locks_->Alone();
  spdlog::info("write lease held");
  for (const auto& [zone, held] : zones_) {
    if (held.lease != 0) tasks_->Spawn(ReleaseZone(zone));
  }
}

Task<void> Watcher::HoldZone(uint64_t zone, AcquiredLease lease) {
  if (!co_await CaughtUp(lease)) co_return;
  Zone& held = zones_[zone];
  if (held.giving_back || held.lease == lease.lease_id) co_return;
  if (lease_id_ != 0 || held.moves != 0) co_return co_await Release(lease.lease_id);
  held.lease = lease.lease_id;
  held.held_since_ns = MonotonicNs();
  contents_->DoubtVersions();
  log_->SetZoneLease(zone, lease.lease_id);
  spdlog::info("write lease of {} held", tree_->DirectoryPath(zone));
}

Task<void> Watcher::ForgetZone(uint64_t zone) {
  Zone& state = zones_[zone];
  if (lease_id_ != 0 || state.lease != 0 || state.asking) co_return;
  if (std::exchange(state.forgetting, true)) co_return;
  const std::function<Task<void>()> tell = [this, zone]() -> Task<void> {
    Backoff backoff;
    while (!stopping_) {
      auto done = co_await gateway_->ForgetZone(zone);
      if (done || done.error().code != EAGAIN) break;
      co_await backoff.Wait(executor_);
    }
  };
  const bool forgotten = co_await tree_->ForgetZone(zone, tell);
  state.forgetting = false;
  if (forgotten) spdlog::info("nothing of {} is cached any more", tree_->DirectoryPath(zone));
}

void Watcher::LeaseIs(uint64_t lease_id) {
  if (lease_id_ != 0 && lease_id != lease_id_ && !giving_back_) {
    spdlog::warn("the write lease has ended");
    LoseLease();
  }
  Regain(0);
}

}  // namespace airstore::broker
