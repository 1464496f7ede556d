// SPDX-License-Identifier: Apache-2.0
#include "broker/mount.h"

#include "broker/clock.h"
#include "broker/session.h"
#include "shm/counters.h"

namespace airstore::broker {
namespace {

const char* StateName(Mount::State state) {
  switch (state) {
    case Mount::State::kStarting:
      return "starting";
    case Mount::State::kReady:
      return "ready";
    case Mount::State::kRecovering:
      return "recovering";
    case Mount::State::kUnmounting:
      return "unmounting";
    case Mount::State::kDead:
      return "dead";
    case Mount::State::kGone:
      return "gone";
  }
  return "unknown";
}

// Upper edge of the bucket below which `part` of all observations lie.
uint64_t Quantile(const shm::LaneConsumer& lane, uint32_t row, double part) {
  uint64_t total = 0;
  for (uint32_t b = 0; b < shm::kHistogramBuckets; ++b) total += lane.HistogramBucket(row, b);
  if (total == 0) return 0;
  uint64_t seen = 0;
  for (uint32_t b = 0; b < shm::kHistogramBuckets; ++b) {
    seen += lane.HistogramBucket(row, b);
    if (static_cast<double>(seen) >= part * static_cast<double>(total)) return 2ull << b;
  }
  return 0;
}

}  // namespace

MountStatus Mount::Status() const {
  MountStatus status;
  status.mountpoint = options_.spec.mountpoint;
  status.workspace = session_->workspace();
  status.gateway = session_->gateway_address();
  status.backend = is_nfs() ? "nfs" : "fuse";
  status.read_only = options_.spec.read_only;
  status.passthrough = options_.passthrough;
  status.squash = options_.spec.squash;
  status.relatime = options_.spec.relatime;
  status.fsync_local = options_.spec.fsync_local;
  status.frontend_pid = static_cast<uint32_t>(frontend_.pid());
  status.frontend_restarts = frontend_restarts_;
  status.problem = problem_;
  status.frontend_up_ms = static_cast<uint64_t>((MonotonicNs() - frontend_since_ns_) / 1'000'000);
  status.last_end = last_end_;
  DescribeExport(&status);
  status.owner_uid = options_.caller.uid;
  status.state = StateName(state_);
  status.frontend_rss_bytes = frontend_.running() ? PrivateResidentBytes(frontend_.pid()) : 0;
  status.ready_us = ready_us_;
  status.dirty_bytes = session_->contents().dirty_bytes();
  for (uint32_t i = 0; i < shm::kCounterCount; ++i) {
    status.counters[shm::kCounterNames[i]] = lane_->Counter(i);
  }
  for (uint32_t i = 0; i < shm::kHistogramCount; ++i) {
    status.latency_p50_ns[shm::kHistogramNames[i]] = Quantile(*lane_, i, 0.5);
    status.latency_p99_ns[shm::kHistogramNames[i]] = Quantile(*lane_, i, 0.99);
    LatencyCounts& counts = status.latencies[shm::kHistogramNames[i]];
    for (uint32_t b = 0; b < shm::kHistogramBuckets; ++b) {
      counts.push_back(lane_->HistogramBucket(i, b));
    }
  }
  return status;
}

}  // namespace airstore::broker
