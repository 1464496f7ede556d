// SPDX-License-Identifier: Apache-2.0
#include "broker/access_collector.h"

#include <string.h>

#include <algorithm>

#include "broker/backoff.h"
#include "broker/clock.h"
#include "broker/deadline.h"

namespace airstore::broker {
namespace {

constexpr std::chrono::milliseconds kEvery{2000};
constexpr std::chrono::milliseconds kSoon{500};
constexpr size_t kMostWaiting = 4096;
constexpr size_t kBatch = 128;
constexpr int kTries = 5;
constexpr int64_t kCloseNs = 2'000'000'000;
constexpr char kSources[] = "Sources/";
constexpr char kFirstSources[] = "sources/";

const char* NameOf(shm::ReadSource source) {
  switch (source) {
    case shm::ReadSource::kShared:
      return "shared_cache";
    case shm::ReadSource::kContent:
      return "content_cache";
    case shm::ReadSource::kFetched:
      return "backend_rpc";
    case shm::ReadSource::kNowhere:
      break;
  }
  return "unknown";
}

}  // namespace

AccessCollector::AccessCollector(boost::asio::any_io_executor executor, Tasks* tasks,
                                 MountSet* mounts, PathsOf paths_of,
                                 std::shared_ptr<GatewayServices> services)
    : executor_(executor),
      tasks_(tasks),
      mounts_(mounts),
      paths_of_(std::move(paths_of)),
      services_(std::move(services)),
      timer_(executor),
      idle_(executor) {}

void AccessCollector::Want(bool wanted) {
  wanted = wanted && services_ && !unwelcome_ && !closing_;
  if (wanted == wanted_) return;
  wanted_ = wanted;
  for (MountPort* mount : mounts_->all()) mount->WantReads(wanted);
}

void AccessCollector::Noted(bool soon) {
  if (!wanted_) return;
  again_ = true;
  soon_ = soon_ || soon;
  if (!std::exchange(running_, true)) {
    tasks_->Spawn(Run());
  } else if (soon) {
    timer_.cancel();
  }
}

void AccessCollector::Opened(const MountPort& mount, uint64_t inode) {
  if (opened_.size() >= kMostWaiting) {
    ++dropped_;
    return;
  }
  opened_.emplace_back(mount.name(), inode);
  Noted(false);
}

void AccessCollector::Leave(MountPort* mount) {
  if (!wanted_) return;
  auto& [name, reads] = left_.emplace_back();
  name = mount->name();
  uint64_t left_out = 0;
  (void)mount->TakeReads(kMostWaiting, &reads, &left_out);
  dropped_ += left_out;
  if (reads.empty()) {
    left_.pop_back();
  } else {
    Noted(false);
  }
}

Task<void> AccessCollector::Pause(std::chrono::milliseconds length) {
  if (closing_) co_return;
  timer_.expires_after(length);
  boost::system::error_code ignored;
  co_await timer_.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
}

Task<void> AccessCollector::Run() {
  while (again_ && wanted_) {
    if (!soon_) co_await Pause(kEvery);
    again_ = soon_ = false;
    const bool more = co_await Collect();
    again_ = again_ || more;
    co_await SendAll();
    if (soon_) co_await Pause(kSoon);  // lanes fill faster than that: this often and no oftener
  }
  running_ = false;
  idle_.NotifyAll();
}

std::string AccessCollector::NextId(const MountPort::Name& mount) {
  return mount.id + "-" + std::to_string(++numbers_);
}

void AccessCollector::Add(const MountPort::Name& mount, AccessEvent event) {
  event.id = NextId(mount);
  event.mount = mount.id;
  event.origin = mount.backend;
  if (event.path.starts_with(kSources) || event.path.starts_with(kFirstSources)) {
    if (const SourceCost* cost = services_->CostOf(event.path.substr(sizeof kSources - 1))) {
      event.source = *cost;
    }
  }
  events_.push_back(std::move(event));
}

Task<bool> AccessCollector::Collect() {
  auto read = std::exchange(left_, {});
  const auto opened = std::exchange(opened_, {});
  std::unordered_set<uint64_t> inodes;
  size_t room = kMostWaiting - std::min(kMostWaiting, events_.size() + opened.size());
  bool more = false;
  for (MountPort* mount : mounts_->all()) {
    auto& [name, reads] = read.emplace_back();
    name = mount->name();
    uint64_t left_out = 0;
    more = mount->TakeReads(room, &reads, &left_out) || more;
    dropped_ += left_out;
    room -= reads.size();
  }
  for (const auto& [name, reads] : read) {
    for (const shm::NotedRead& one : reads) inodes.insert(one.inode);
  }
  for (const auto& one : opened) inodes.insert(one.second);
  const int64_t now_ms = RealtimeNs() / 1'000'000;
  const auto paths = co_await paths_of_(std::move(inodes));
  const auto path_of = [&paths](uint64_t inode) {
    const auto found = paths.find(inode);
    return found == paths.end() ? "inode " + std::to_string(inode) : found->second.substr(1);
  };
  for (const auto& [name, reads] : read) {
    for (const shm::NotedRead& one : reads) {
      AccessEvent event;
      event.time_ms = one.time_ms;
      event.path = path_of(one.inode);
      event.cache_source = NameOf(one.source);
      event.offset = one.offset;
      event.requested = one.requested;
      event.bytes = one.bytes;
      event.latency_ms = one.latency_us / 1000;
      if (one.error != 0) event.error = strerror(one.error);
      Add(name, std::move(event));
    }
  }
  for (const auto& [name, inode] : opened) {
    AccessEvent event;
    event.time_ms = now_ms;
    event.path = path_of(inode);
    event.cache_source = "passthrough";
    Add(name, std::move(event));
  }
  co_return more;
}

Task<void> AccessCollector::SendAll() {
  while (!events_.empty() && wanted_) {
    const size_t count = std::min(kBatch, events_.size());
    const auto end = events_.begin() + static_cast<std::ptrdiff_t>(count);
    Backoff backoff;
    for (int tries = 1;; ++tries) {
      std::vector<AccessEvent> batch(events_.begin(), end);
      auto told = co_await services_->TellReads(std::move(batch));
      if (told) {
        sent_ += count;
        break;
      }
      if (told.error().code == ENOSYS) {
        unwelcome_ = true;
        Want(false);
        events_.clear();
        co_return;
      }
      if (tries == kTries || closing_) {
        dropped_ += count;
        break;
      }
      co_await backoff.Wait(executor_);
    }
    events_.erase(events_.begin(), end);
  }
}

Task<void> AccessCollector::Close() {
  closing_ = true;
  timer_.cancel();
  auto idle = [](AccessCollector* self) -> Task<Result<void>> {
    while (self->running_) co_await self->idle_.Wait();
    co_return Result<void>{};
  };
  (void)co_await Before(MonotonicNs() + kCloseNs, tasks_, executor_, idle(this));
  wanted_ = false;
}

}  // namespace airstore::broker
