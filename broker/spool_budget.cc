// SPDX-License-Identifier: Apache-2.0
#include "broker/spool_budget.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "broker/clock.h"
#include "shm/base/fd.h"
#include "shm/lane.h"
#include "shm/layout.h"

namespace airstore::broker {
namespace {

// The disk's free space is asked for after so long, or so many bytes: within the margin in any
// case.
constexpr int64_t kLookNs = 5'000'000;
constexpr uint64_t kLookBytes = 1u << 20;
constexpr auto kWatchEvery = std::chrono::milliseconds(100);
// On a disk that runs full: what content files leave to journals and manifests.
constexpr uint64_t kDiskMargin = 6u << 20;
constexpr uint32_t kSlowestUsPerMib = 400'000;
constexpr uint32_t kSteps = 32;  // of the gate, so that mounts are not told of every byte
// What a kernel writes into its page cache at most, bytes for each microsecond, and the least time
// between two looks.
constexpr uint64_t kFastestPerUs = 4096;
constexpr auto kSoonestLook = std::chrono::milliseconds(20);
constexpr uint64_t kSealRoom = 512u << 20;

}  // namespace

bool SpoolBudget::Gate::closed() const { return wait_us_per_mib == shm::kWriteGateClosed; }

SpoolBudget::SpoolBudget(boost::asio::any_io_executor executor, std::string directory,
                         std::string reserve_file, const Limits& limits)
    : executor_(executor),
      directory_(std::move(directory)),
      reserve_file_(std::move(reserve_file)),
      limits_(limits) {
  unlink(reserve_file_.c_str());
  gate_.stall_ms = static_cast<uint32_t>(limits_.stall.count());
}

void SpoolBudget::Share::Set(uint64_t bytes) {
  if (bytes == bytes_) return;
  budget_->used_ += bytes - bytes_;
  bytes_ = bytes;
  budget_->Update();
}

uint64_t SpoolBudget::FreeOnDisk() const {
  struct statvfs info {};
  if (statvfs(directory_.c_str(), &info) != 0) return UINT64_MAX;
  const uint64_t free = geteuid() == 0 ? info.f_bfree : info.f_bavail;
  return free * info.f_frsize;
}

uint64_t SpoolBudget::SealAt() const {
  return limits_.bytes - std::min(limits_.bytes / 8, kSealRoom);
}

bool SpoolBudget::sealing() const { return used() >= SealAt(); }

bool SpoolBudget::unsealing() const { return used() + limits_.bytes / 16 < SealAt(); }

std::chrono::nanoseconds SpoolBudget::look_every() const {
  const uint64_t room = SealAt() - std::min(SealAt(), used());
  return std::max<std::chrono::nanoseconds>(
      kSoonestLook, std::chrono::microseconds(std::min<uint64_t>(room / kFastestPerUs, 1u << 30)));
}

uint64_t SpoolBudget::ArenaBytes() const {
  constexpr uint64_t kPage = 4096;
  const uint64_t room = std::min(limits_.bytes - std::min(limits_.bytes, used()), FreeOnDisk());
  return std::clamp(room / 32 / kPage * kPage, shm::kMinArenaBytes, shm::kArenaBytes);
}

void SpoolBudget::LookAtDisk() {
  looked_ns_ = MonotonicNs();
  looked_used_ = used_;
  disk_free_ = FreeOnDisk();
  if (disk_free_ >= 2 * kDiskMargin || !on_low_) return;
  on_low_(2 * kDiskMargin - disk_free_);
  disk_free_ = FreeOnDisk();
}

void SpoolBudget::Look() {
  LookAtDisk();
  FillReserve();
  Update();
}

void SpoolBudget::Update() {
  if (MonotonicNs() - looked_ns_ > kLookNs || used_ > looked_used_ + kLookBytes) LookAtDisk();
  const uint64_t slow_at = limits_.bytes / 4 * 3;
  // What the arenas may hold of accepted writes still comes.
  const uint64_t full_at = limits_.bytes - std::min(reserve_wanted_, limits_.bytes / 8);
  Gate gate{0, gate_.closed_ns, gate_.stall_ms};
  if (used() >= full_at || disk_free_ < kDiskMargin) {
    gate.wait_us_per_mib = shm::kWriteGateClosed;
    if (!gate_.closed()) gate.closed_ns = MonotonicNs();
  } else if (used() > slow_at) {
    const uint64_t steps = (used() - slow_at) * kSteps / (full_at - slow_at);
    gate.wait_us_per_mib =
        static_cast<uint32_t>(steps * steps * kSlowestUsPerMib / (kSteps * kSteps));
  }
  if (gate.wait_us_per_mib == gate_.wait_us_per_mib) return;
  if (gate.closed()) {
    spdlog::warn("the spool is full ({} MiB unsent, {} MiB free on its disk): writes wait",
                 used() >> 20, disk_free_ >> 20);
  } else if (gate_.closed()) {
    spdlog::info("the spool has room again ({} MiB unsent)", used() >> 20);
  }
  gate_ = gate;
  if (on_gate_) on_gate_(gate_);
  if (gate_.closed() && !watching_) {
    watching_ = true;
    Spawn(executor_, Watch());
  }
}

// Nobody tells when a disk has room again.
Task<void> SpoolBudget::Watch() {
  boost::asio::steady_timer timer(executor_);
  while (gate_.closed()) {
    timer.expires_after(kWatchEvery);
    co_await timer.async_wait(boost::asio::use_awaitable);
    Look();
  }
  watching_ = false;
}

Task<Result<void>> SpoolBudget::Admit(std::chrono::nanoseconds patience) {
  boost::asio::steady_timer timer(executor_);
  const int64_t deadline = MonotonicNs() + patience.count();
  while (gate_.closed()) {
    const int64_t now = MonotonicNs();
    if (now > deadline || now - gate_.closed_ns > int64_t{gate_.stall_ms} * 1'000'000) {
      co_return Error{ENOSPC, "the spool is full"};
    }
    timer.expires_after(kWatchEvery);
    co_await timer.async_wait(boost::asio::use_awaitable);
  }
  co_return Result<void>{};
}

void SpoolBudget::Share::Reserve(uint64_t bytes) {
  if (bytes == reserved_) return;
  budget_->reserve_wanted_ += bytes - reserved_;
  reserved_ = bytes;
  budget_->Look();
}

void SpoolBudget::FillReserve() {
  if (reserve_ == reserve_wanted_) return;
  const UniqueFd file(open(reserve_file_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return;
  if (reserve_ < reserve_wanted_ && disk_free_ >= reserve_wanted_ - reserve_ + 2 * kDiskMargin &&
      posix_fallocate(file.get(), 0, static_cast<off_t>(reserve_wanted_)) == 0) {
    reserve_ = reserve_wanted_;
  }
  reserve_ = std::min(reserve_, reserve_wanted_);
  if (ftruncate(file.get(), static_cast<off_t>(reserve_)) != 0) return;
  if (reserve_ == 0) unlink(reserve_file_.c_str());
}

bool SpoolBudget::UseReserve(uint64_t bytes) {
  if (reserve_ == 0) return false;
  reserve_ -= std::min(reserve_, bytes);
  return truncate(reserve_file_.c_str(), static_cast<off_t>(reserve_)) == 0;
}

uint64_t DiskBytesBelow(const std::string& directory) {
  uint64_t bytes = 0;
  std::error_code failed;
  for (std::filesystem::recursive_directory_iterator at(directory, failed), end;
       !failed && at != end; at.increment(failed)) {
    struct stat info {};
    if (lstat(at->path().c_str(), &info) == 0) bytes += static_cast<uint64_t>(info.st_blocks) * 512;
  }
  return bytes;
}

}  // namespace airstore::broker
