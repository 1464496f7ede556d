// SPDX-License-Identifier: Apache-2.0
#include "broker/evictor.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <chrono>

#include "broker/clock.h"

namespace airstore::broker {
namespace {

constexpr uint32_t kEntriesAtOnce = 256;  // then others get their turn
constexpr size_t kAskAtOnce = 2048;
constexpr int kForgetTries = 6;  // each wait twice as long as the one before
constexpr uint32_t kRounds = 3;  // the first one only finds out what is used
constexpr int64_t kExhaustedNs = 100'000'000;
constexpr int64_t kUnsentPatienceNs = 10'000'000'000;
constexpr auto kUnsentPause = std::chrono::milliseconds(10);

// Full: it is time to begin. Lean: enough.
uint32_t Full(uint32_t capacity) { return capacity - capacity / 16; }
uint32_t Lean(uint32_t capacity) { return capacity - capacity / 8; }

}  // namespace

Evictor::Evictor(boost::asio::any_io_executor executor, Tasks* tasks, InodeCache* inodes,
                 Contents* contents, MutationLog* log, MountSet* mounts)
    : executor_(executor),
      tasks_(tasks),
      inodes_(inodes),
      contents_(contents),
      log_(log),
      mounts_(mounts),
      progress_(executor) {}

bool Evictor::HasRoom(uint32_t entries) const {
  const shm::MetaWriter::Room room = inodes_->meta().room();
  return room.inodes >= entries && room.dentries >= entries && room.long_names >= entries;
}

bool Evictor::InodesWanted() const {
  const uint32_t capacity = inodes_->meta().reader().view().geometry().inode_capacity;
  const uint32_t room = inodes_->meta().room().inodes;
  return room < demand_ || room < capacity - (running_ ? Lean(capacity) : Full(capacity));
}

bool Evictor::NamesWanted() const {
  const auto& geometry = inodes_->meta().reader().view().geometry();
  const shm::MetaWriter::Room room = inodes_->meta().room();
  const auto wanted = [&](uint32_t left, uint32_t capacity) {
    return left < demand_ || left < capacity - (running_ ? Lean(capacity) : Full(capacity));
  };
  return wanted(room.dentries, geometry.dentry_capacity) ||
         wanted(room.long_names, geometry.long_name_capacity);
}

void Evictor::Watch() {
  if (running_ || stopping_ || !Wanted()) return;
  if (exhausted_ns_ == 0 || MonotonicNs() - exhausted_ns_ > kExhaustedNs) Start();
}

void Evictor::Start() {
  running_ = true;
  tasks_->Spawn(Run());
}

Task<bool> Evictor::MakeRoom(uint32_t entries) {
  const auto& geometry = inodes_->meta().reader().view().geometry();
  entries = std::min({entries, geometry.inode_capacity / 4, geometry.long_name_capacity / 4});
  while (!HasRoom(entries) && !stopping_) {
    demand_ = std::max(demand_, entries);
    const bool ours = !running_;
    if (ours) Start();
    for (const uint64_t run = runs_; runs_ == run && !HasRoom(entries);) {
      co_await progress_.Wait();
    }
    // One that had begun before may have looked at what is free since.
    if (ours) break;
  }
  co_return HasRoom(entries);
}

Task<void> Evictor::Run() {
  rounds_ = 0;
  const int64_t give_up_ns = MonotonicNs() + kUnsentPatienceNs;
  while (Wanted() && !stopping_) {
    const uint64_t before = evicted_;
    const uint32_t rounds_before = rounds_;
    LookAtSome();
    const bool turned = rounds_ != rounds_before;
    if (held_.size() >= kAskAtOnce || (turned && !held_.empty())) co_await AskKernels();
    if (evicted_ != before) {
      rounds_ = 0;
      progress_.NotifyAll();
    }
    if (rounds_ > kRounds && log_->pending() != 0 && MonotonicNs() < give_up_ns) {
      // What is made faster than the gateway takes it waits for the gateway.
      rounds_ = 1;
      boost::asio::steady_timer timer(executor_, kUnsentPause);
      boost::system::error_code ignored;
      co_await timer.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
    } else if (rounds_ > kRounds) {
      if (exhausted_ns_ == 0) {
        spdlog::warn("metadata: all {} inodes in the table are in use (inode_limit)",
                     inodes_->meta().inode_count());
      }
      exhausted_ns_ = MonotonicNs();
      break;
    }
    co_await boost::asio::post(executor_, boost::asio::use_awaitable);
  }
  if (!Wanted()) exhausted_ns_ = 0;
  held_.clear();
  demand_ = 0;
  running_ = false;
  ++runs_;
  progress_.NotifyAll();
}

void Evictor::LookAtSome() {
  const uint32_t end = inodes_->meta().inode_end();
  budget_ = kEntriesAtOnce;
  while (budget_ > 0 && Wanted()) {
    if (hand_ >= end) {
      hand_ = 1;
      ++rounds_;
      return;
    }
    --budget_;
    unfinished_ = false;
    if (Try(hand_) == Outcome::kHeldByKernels) {
      held_.push_back(inodes_->meta().Inode(hand_).inode);
    }
    if (!unfinished_) ++hand_;
  }
}

Evictor::Outcome Evictor::Try(uint32_t index) {
  const bool touched = inodes_->TakeTouched(index);
  const bool used = mounts_->TakeUsed(index);
  if (touched || used) return Outcome::kInUse;
  const shm::InodeRecord record = inodes_->meta().Inode(index);
  if (!Settled(record)) return Outcome::kInUse;
  if (mounts_->AnyLookups(index) || mounts_->AnyLocalOpens(index)) return Outcome::kHeldByKernels;
  if (IsDirectory(record.mode) && !DropNames(index)) return Outcome::kInUse;
  return InodesWanted() && Release(record) ? Outcome::kGone : Outcome::kInUse;
}

// The gateway has all there is to it, and nothing here builds on it.
bool Evictor::Settled(const shm::InodeRecord& record) const {
  const uint64_t inode = record.inode;
  if (inode == 0 || inode == shm::kRootInode || (record.flags & shm::kOrphan) != 0 ||
      record.write_error != 0 || log_->PendingOf(inode) != 0) {
    return false;
  }
  return IsDirectory(record.mode) ? !inodes_->directories().HasChildren(inode)
                                  : !contents_->HasOpens(inode);
}

bool Evictor::Release(const shm::InodeRecord& record) {
  if (!contents_->LetGo(record.inode) || !inodes_->RemoveUnlessHeld(record.inode)) return false;
  // What has changed here since would not be known when an older answer arrives.
  inodes_->freshness().Changed(record.inode);
  ++evicted_;
  return true;
}

bool Evictor::TakeOut(uint32_t index) {
  const shm::InodeRecord record = inodes_->meta().Inode(index);
  if (!Settled(record) || mounts_->AnyLookups(index) || mounts_->AnyLocalOpens(index)) return false;
  budget_ = UINT32_MAX;
  return (!IsDirectory(record.mode) || DropNames(index)) && Release(record);
}

// False: some are still there. The directory is nobody's at this moment, so no open listing counts
// on the offsets.
bool Evictor::DropNames(uint32_t directory_index) {
  shm::MetaWriter& meta = inodes_->meta();
  shm::InodeRecord directory = meta.Inode(directory_index);
  if (directory.dir_first == shm::kNoIndex && (directory.flags & shm::kListingComplete) == 0) {
    return true;
  }
  // First of all: a chain that gets shorter must not be taken for the whole listing.
  directory.flags &= ~static_cast<uint32_t>(shm::kListingComplete);
  meta.UpdateInode(directory_index, directory);
  inodes_->freshness().NamesDropped(directory.inode);
  for (uint32_t at = directory.dir_first; at != shm::kNoIndex;) {
    if (budget_ == 0) {
      unfinished_ = true;
      return false;
    }
    const shm::DentryRecord name = meta.Dentry(at);
    // Whoever asks what is not sent wants to know where it is.
    if (log_->PendingOf(name.inode) != 0 || contents_->MayBeDirty(name.inode)) return false;
    --budget_;
    meta.RemoveDentry(at);
    ++evicted_;
    at = name.dir_next;
  }
  return true;
}

// What no program uses they drop at once, and say so to the frontends; that takes a moment.
Task<void> Evictor::AskKernels() {
  std::vector<uint64_t> asked = std::exchange(held_, {});
  // What came later is mostly below what was there: a directory can go when nothing in it is left.
  std::reverse(asked.begin(), asked.end());
  for (MountPort* mount : std::vector<MountPort*>(mounts_->all())) {
    const auto& now = mounts_->all();
    if (std::find(now.begin(), now.end(), mount) == now.end()) continue;
    std::vector<uint64_t> here;
    for (const uint64_t inode : asked) {
      const uint32_t index = inodes_->IndexOf(inode);
      if (index != shm::kNoIndex && mount->Lookups(index) != 0) here.push_back(inode);
    }
    if (!here.empty()) co_await mount->Prune(std::move(here));
  }
  boost::asio::steady_timer timer(executor_);
  for (int tries = 0; tries < kForgetTries && !asked.empty() && Wanted() && !stopping_; ++tries) {
    timer.expires_after(std::chrono::milliseconds(1 << tries));
    boost::system::error_code ignored;
    co_await timer.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
    std::vector<uint64_t> left;
    for (size_t i = 0; i < asked.size(); ++i) {
      budget_ = kEntriesAtOnce;
      const uint32_t index = inodes_->IndexOf(asked[i]);
      if (index == shm::kNoIndex) continue;
      if (Try(index) == Outcome::kHeldByKernels) left.push_back(asked[i]);
      if ((i + 1) % kEntriesAtOnce == 0) {
        progress_.NotifyAll();
        co_await boost::asio::post(executor_, boost::asio::use_awaitable);
      }
    }
    asked = std::move(left);
  }
}

}  // namespace airstore::broker
