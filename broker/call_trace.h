// SPDX-License-Identifier: Apache-2.0
//
// CallTrace: the calls of a mount that took long, for who looks. What its frontend answers by
// itself asks nobody, and is in the lane's counters and histograms, of which a trace shows what was
// added since.
//
// Threads: the event loop. Off, a call costs the comparison in Wants().
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "broker/trace_settings.h"
#include "shm/lane.h"

namespace airstore::broker {

struct TracedCall {
  uint64_t number = 0;   // ascending
  int64_t ended_ns = 0;  // wall clock
  std::string op;
  std::string path;
  uint64_t inode = 0;
  int64_t duration_ns = 0;
  int error = 0;
};

// Of one kind of operation, since the mount began.
struct OpTotals {
  uint64_t count = 0;
  uint64_t errors = 0;    // of those that asked the broker
  uint64_t total_ns = 0;  // about: from a histogram
};

struct TraceAnswer {
  std::vector<TracedCall> calls;
  uint64_t missed = 0;  // calls in between that are not kept any more
  uint64_t next = 0;    // to ask with
  std::map<std::string, OpTotals> ops;
};

// "lookup", "setattr", ...
const char* NameOfOp(shm::Op op);

class CallTrace {
 public:
  explicit CallTrace(const TraceSettings& settings) : settings_(settings) {}

  const TraceSettings& settings() const { return settings_; }
  bool on() const { return watchers_ns_ != 0 || settings_.on; }
  // A call that took so long is to be noted.
  bool Wants(int64_t duration_ns) const { return on() && duration_ns >= slow_ns_; }
  // Somebody looks, for the next few seconds, at calls that take as long.
  void Watch(int64_t now_ns, int64_t slow_ns);
  // Nobody has asked for a while.
  void Expire(int64_t now_ns);
  void Count(shm::Op op, int error);
  void Add(TracedCall call);
  // Calls after that number.
  TraceAnswer After(uint64_t number) const;
  // With what the lane has counted.
  std::map<std::string, OpTotals> Totals(const shm::LaneConsumer& lane) const;

 private:
  TraceSettings settings_;
  int64_t watchers_ns_ = 0;  // until when; 0: nobody looks
  int64_t slow_ns_ = INT64_MAX;
  std::deque<TracedCall> calls_;
  uint64_t next_ = 1;
  std::map<std::string, uint64_t> errors_;
};

}  // namespace airstore::broker
