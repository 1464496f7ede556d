// SPDX-License-Identifier: Apache-2.0
#include "broker/call_trace.h"

#include <algorithm>

#include "shm/counters.h"

namespace airstore::broker {
namespace {

constexpr size_t kMostCalls = 1024;
constexpr int64_t kWatchNs = 10'000'000'000;

// The histogram that an operation's time is in.
std::string RowOf(shm::Op op) {
  switch (op) {
    case shm::Op::kLookup:
      return "lookup";
    case shm::Op::kGetattr:
      return "getattr";
    case shm::Op::kOpen:
      return "open";
    case shm::Op::kReadRange:
    case shm::Op::kContentFd:
      return "read";
    case shm::Op::kAppend:
      return "write";
    case shm::Op::kLoadListing:
      return "readdir";
    case shm::Op::kFsync:
    case shm::Op::kFlush:
      return "fsync";
    default:
      return "mutation";
  }
}

}  // namespace

const char* NameOfOp(shm::Op op) {
  switch (op) {
    case shm::Op::kNone:
      return "none";
    case shm::Op::kLookup:
      return "lookup";
    case shm::Op::kGetattr:
      return "getattr";
    case shm::Op::kSetattr:
      return "setattr";
    case shm::Op::kReadlink:
      return "readlink";
    case shm::Op::kMknod:
      return "mknod";
    case shm::Op::kMkdir:
      return "mkdir";
    case shm::Op::kUnlink:
      return "unlink";
    case shm::Op::kRmdir:
      return "rmdir";
    case shm::Op::kSymlink:
      return "symlink";
    case shm::Op::kRename:
      return "rename";
    case shm::Op::kLink:
      return "link";
    case shm::Op::kOpen:
      return "open";
    case shm::Op::kCreate:
      return "create";
    case shm::Op::kFsync:
      return "fsync";
    case shm::Op::kFlush:
      return "flush";
    case shm::Op::kReadRange:
    case shm::Op::kContentFd:
      return "read";
    case shm::Op::kLoadListing:
      return "readdir";
    case shm::Op::kStatfs:
      return "statfs";
    case shm::Op::kGetxattr:
      return "getxattr";
    case shm::Op::kListxattr:
      return "listxattr";
    case shm::Op::kSetxattr:
      return "setxattr";
    case shm::Op::kRemovexattr:
      return "removexattr";
    case shm::Op::kFallocate:
      return "fallocate";
    case shm::Op::kSeek:
      return "lseek";
    case shm::Op::kTmpfile:
      return "tmpfile";
    case shm::Op::kSetLock:
      return "setlk";
    case shm::Op::kGetLock:
      return "getlk";
    case shm::Op::kFlushLocks:
    case shm::Op::kReleaseLocks:
      return "unlock";
    case shm::Op::kAppend:
      return "write";
    case shm::Op::kCopyRange:
      return "copy_file_range";
  }
  return "unknown";
}

void CallTrace::Watch(int64_t now_ns, int64_t slow_ns) {
  watchers_ns_ = now_ns + kWatchNs;
  slow_ns_ = slow_ns;
  if (settings_.on && settings_.slow.count() > 0) {
    slow_ns_ = std::min<int64_t>(slow_ns_, settings_.slow.count());
  }
}

void CallTrace::Expire(int64_t now_ns) {
  if (watchers_ns_ != 0 && now_ns > watchers_ns_) {
    watchers_ns_ = 0;
    slow_ns_ = settings_.on && settings_.slow.count() > 0 ? settings_.slow.count() : INT64_MAX;
    if (!settings_.on) calls_.clear();
  } else if (watchers_ns_ == 0 && settings_.on && settings_.slow.count() > 0) {
    slow_ns_ = settings_.slow.count();
  }
}

void CallTrace::Count(shm::Op op, int error) {
  if (error != 0) ++errors_[RowOf(op)];
}

void CallTrace::Add(TracedCall call) {
  call.number = next_++;
  calls_.push_back(std::move(call));
  if (calls_.size() > kMostCalls) calls_.pop_front();
}

TraceAnswer CallTrace::After(uint64_t number) const {
  TraceAnswer answer;
  answer.next = next_ - 1;
  const uint64_t first = calls_.empty() ? next_ : calls_.front().number;
  if (number != 0 && number + 1 < first) answer.missed = first - number - 1;
  for (const TracedCall& call : calls_) {
    if (call.number > number) answer.calls.push_back(call);
  }
  return answer;
}

std::map<std::string, OpTotals> CallTrace::Totals(const shm::LaneConsumer& lane) const {
  std::map<std::string, OpTotals> totals;
  for (uint32_t row = 0; row < shm::kHistogramCount; ++row) {
    OpTotals& of = totals[shm::kHistogramNames[row]];
    for (uint32_t bucket = 0; bucket < shm::kHistogramBuckets; ++bucket) {
      const uint64_t count = lane.HistogramBucket(row, bucket);
      of.count += count;
      // The middle of [2^b, 2^(b+1)).
      of.total_ns += count * ((uint64_t{3} << bucket) / 2);
    }
    const auto errors = errors_.find(shm::kHistogramNames[row]);
    if (errors != errors_.end()) of.errors = errors->second;
  }
  return totals;
}

}  // namespace airstore::broker
