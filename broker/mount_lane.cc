// SPDX-License-Identifier: Apache-2.0
#include "broker/mount.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>

#include "broker/log_event.h"
#include "broker/session.h"

namespace airstore::broker {
namespace {

constexpr int kItemsAtOnce = 256;  // then others get their turn

}  // namespace

Task<void> Mount::Serve() {
  const auto self = shared_from_this();
  while (state_ != State::kGone) {
    if (!co_await DrainLane()) {
      frontend_.Kill();  // one that means harm would keep its lane, and who recovers waits for that
      Detach();
      break;
    }
    ++drains_;
    if (state_ == State::kRecovering) changed_.NotifyAll();
    if (frontend_gone_) break;
    if (!lane_->PrepareSleep()) continue;
    boost::system::error_code error;
    co_await wake_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                              boost::asio::redirect_error(boost::asio::use_awaitable, error));
    uint64_t count = 0;
    if (read(wake_.native_handle(), &count, sizeof(count)) > 0) ++wakeups_;
    lane_->Awake();
  }
  serving_ = false;
  changed_.NotifyAll();
}

Task<bool> Mount::DrainLane() {
  shm::LaneConsumer::Item item;
  std::string why;
  for (int handled = 0;; ++handled) {
    if (handled == kItemsAtOnce) {
      MarkDrained();
      co_await boost::asio::post(executor_, boost::asio::use_awaitable);
      handled = 0;
    }
    const auto next = lane_->Pop(&item, &why);
    if (next == shm::LaneConsumer::Next::kEmpty) break;
    if (next == shm::LaneConsumer::Next::kCorrupt) {
      problem_ = "the frontend broke the protocol: " + why;
      LogEvent(spdlog::level::err, {{"mount", options_.spec.mountpoint}, {"error", problem_}},
               "{}: {}; it is ended", options_.spec.mountpoint, problem_);
      co_return false;
    }
    switch (item.op) {
      case shm::QueueOp::kCall:
        session_->tasks().Spawn(HandleCall(std::move(item.call)));
        break;
      case shm::QueueOp::kWrite:
        co_await HandleWrite(item);
        break;
      case shm::QueueOp::kRelease:
        HandleRelease(item);
        break;
      case shm::QueueOp::kTouch:
        ++notifying_;
        session_->tasks().Spawn(HandleTouch(item.inode, item.time_ns));
        break;
      case shm::QueueOp::kForget:
        session_->tree().ReclaimOrphan(item.inode);
        break;
      case shm::QueueOp::kInterrupt:
        session_->locks().Interrupt(index_, item.unique);
        break;
      case shm::QueueOp::kReads:
        session_->access().Noted(item.flags != 0);
        break;
      case shm::QueueOp::kNone:
        break;
    }
  }
  MarkDrained();
  co_return true;
}

void Mount::MarkDrained() {
  if (notifying_ == 0) {
    lane_->MarkApplied();
  } else {
    lane_->MarkTaken();
  }
}

Task<void> Mount::HandleWrite(const shm::LaneConsumer::Item& item) {
  if (options_.spec.read_only) {  // an honest frontend has refused it
    ledger_->Handled(lane_->popped());
    co_return;
  }
  uint64_t offset = item.offset;
  const bool appended = AppendedBefore(item);
  // What an earlier broker has written may have been cut off since.
  if (lane_->popped() > ledger_->handled()) {
    // While it waits for room nobody else may say that it is applied: its bytes are in the arena.
    ++notifying_;
    if (!appended) offset = co_await ApplyWrite(item);
    --notifying_;
    ledger_->Handled(lane_->popped());
  }
  if (session_->mounts().size() > 1) {
    ++notifying_;
    session_->tasks().Spawn(NotifyWrite(item.inode, offset, item.data.size()));
  }
}

Placing Mount::PlacingOf(const shm::LaneConsumer::Item& item) {
  if ((item.flags & shm::kWriteAppends) == 0) return Placing::kAtOffset;
  const bool begun = lane_->popped() == ledger_->begun();
  // Of a request of before we came, which the frontend of then may have queued.
  const bool repeats = (item.flags & shm::kWriteRepeats) != 0 && lane_->adopted_until() != 0;
  ledger_->Begun(lane_->popped());
  return begun || repeats ? Placing::kRepeatedly : Placing::kAppended;
}

// The frontend that had queued it has died before it could answer, and the next one repeats it.
bool Mount::AppendedBefore(const shm::LaneConsumer::Item& item) {
  if ((item.flags & shm::kWriteAppends) == 0 || item.unique == 0) return false;
  const auto end = appended_.end();
  if (std::find(appended_.begin(), end, item.unique) != end) return true;
  appended_[next_appended_++ % appended_.size()] = item.unique;
  return false;
}

// It was accepted while there was room: without, it waits, and all that was queued behind it.
Task<uint64_t> Mount::ApplyWrite(const shm::LaneConsumer::Item& item) {
  constexpr auto kPause = std::chrono::milliseconds(50);
  const Placing placing = PlacingOf(item);
  size_t progress = 0;
  const auto write = [&] {
    return session_->contents().Write(item.inode, item.offset, item.data, item.time_ns, placing,
                                      &progress);
  };
  auto written = write();
  boost::asio::steady_timer timer(executor_);
  while (!written && written.error().code == ENOSPC && state_ != State::kDead) {
    timer.expires_after(kPause);
    co_await timer.async_wait(boost::asio::use_awaitable);
    options_.budget->Look();
    written = write();
  }
  if (written) co_return *written;
  spdlog::warn("write to inode {}: {}", item.inode, written.error().ToString());
  co_return item.offset;
}

// As a write, applied when no other mount's kernel shows what was before.
Task<void> Mount::HandleTouch(uint64_t inode, int64_t time_ns) {
  const auto self = shared_from_this();
  co_await session_->tree().Touch(this, inode, time_ns);
  if (--notifying_ == 0) lane_->MarkApplied();
}

void Mount::HandleRelease(const shm::LaneConsumer::Item& item) {
  const int64_t read_ns =
      options_.spec.relatime ? session_->tree().UnseenRead(*this, item.inode) : 0;
  bool counted = false;
  if (lane_->popped() > ledger_->handled()) {
    const uint32_t index = session_->inodes().IndexOf(item.inode);
    ledger_->Released(lane_->popped(), index, item.flags);
    counted = true;
  }
  if (read_ns == 0) return EndOpen(item.inode, item.flags, counted);
  ++notifying_;
  session_->tasks().Spawn(HandleReadRelease(item.inode, item.flags, read_ns, counted));
}

// The file counts as open until its time of access is known: whoever asks meanwhile is told by us,
// not by the record in which it is still missing.
Task<void> Mount::HandleReadRelease(uint64_t inode, uint32_t flags, int64_t read_ns, bool counted) {
  const auto self = shared_from_this();
  co_await session_->tree().Touch(this, inode, read_ns);
  if (in_service()) EndOpen(inode, flags, counted);
  if (--notifying_ == 0) lane_->MarkApplied();
}

void Mount::EndOpen(uint64_t inode, uint32_t flags, bool counted) {
  if (counted) session_->contents().Release(inode, index_, flags);
  session_->tree().ReclaimOrphan(inode);
}

// A write is applied, for who waits for it, when no other mount's kernel shows the old bytes any
// more. The lane goes on meanwhile: a read of that kernel may hold the page, and its answer may
// come through a call of a sibling.
Task<void> Mount::NotifyWrite(uint64_t inode, uint64_t offset, uint64_t length) {
  const auto self = shared_from_this();
  co_await session_->tree().NotifyData(this, inode, offset, length);
  if (--notifying_ == 0) lane_->MarkApplied();
}

}  // namespace airstore::broker
