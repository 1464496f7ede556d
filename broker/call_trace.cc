// SPDX-License-Identifier: Apache-2.0
#include "broker/call_trace.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>

#include "shm/counters.h"

namespace airstore::broker {
namespace {

constexpr size_t kMostCalls = 1024;
constexpr int64_t kWatchNs = 10'000'000'000;

std::string Trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

double UnitNs(const std::string& unit) {
  if (unit == "ns") return 1;
  if (unit == "us" || unit == "\xc2\xb5s") return 1e3;
  if (unit == "ms") return 1e6;
  if (unit == "s") return 1e9;
  if (unit == "m") return 60e9;
  if (unit == "h") return 3600e9;
  return 0;
}

// 0: it makes no sense.
int64_t GoDuration(const std::string& text) {
  double total = 0;
  size_t at = 0;
  if (text.empty()) return 0;
  while (at < text.size()) {
    const size_t number_end = text.find_first_not_of("0123456789.", at);
    if (number_end == at || number_end == std::string::npos) return 0;
    const size_t unit_end = std::min(text.find_first_of("0123456789.", number_end), text.size());
    const double unit = UnitNs(text.substr(number_end, unit_end - number_end));
    if (unit == 0) return 0;
    total += std::strtod(text.substr(at, number_end - at).c_str(), nullptr) * unit;
    at = unit_end;
  }
  return total >= 1 && total < 1e17 ? static_cast<int64_t>(total) : 0;
}

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

TraceSettings ParseTraceSettings(const std::string& on, const std::string& interval,
                                 const std::string& slow_ms) {
  TraceSettings settings;
  std::string word = Trimmed(on);
  std::transform(word.begin(), word.end(), word.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const char* yes : {"1", "true", "yes", "y", "on"}) settings.on = settings.on || word == yes;
  if (const int64_t ns = GoDuration(Trimmed(interval)); ns > 0) {
    settings.interval = std::chrono::nanoseconds(ns);
  }
  const std::string limit = Trimmed(slow_ms);
  char* end = nullptr;
  const long long ms = std::strtoll(limit.c_str(), &end, 10);
  if (!limit.empty() && *end == '\0') {
    settings.slow = std::chrono::milliseconds(std::clamp<long long>(ms, 0, 1'000'000'000));
  }
  return settings;
}

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
