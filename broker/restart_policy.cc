// SPDX-License-Identifier: Apache-2.0
#include "broker/restart_policy.h"

#include <algorithm>

namespace airstore::broker {
namespace {

// Five crashes at once, or one every two seconds for ever, are replaced without a pause.
constexpr double kCrash = 10;
constexpr double kKill = 1;
constexpr double kLeakPerSecond = 5;
constexpr double kBrim = 50;
constexpr std::chrono::milliseconds kFirstPause{100};
constexpr std::chrono::milliseconds kLongestPause{10'000};
constexpr int kCrashesToBlame = 3;

}  // namespace

std::chrono::milliseconds RestartPolicy::Ended(std::chrono::nanoseconds lived, bool killed) {
  const double leaked = kLeakPerSecond * std::chrono::duration<double>(lived).count();
  bucket_ = std::max(0.0, bucket_ - leaked) + (killed ? kKill : kCrash);
  if (bucket_ <= kBrim) {
    pause_ = std::chrono::milliseconds(0);
  } else {
    pause_ = std::clamp(pause_ * 2, kFirstPause, kLongestPause);
    bucket_ = kBrim + kCrash;  // what is over the brim is lost: the way back is not endless
  }
  return pause_;
}

std::vector<uint64_t> RestartPolicy::Blame(const std::vector<uint64_t>& in_work) {
  std::map<uint64_t, int> crashes;
  std::vector<uint64_t> blamed;
  for (const uint64_t request : in_work) {
    const auto before = crashes_.find(request);
    const int count = before == crashes_.end() ? 1 : before->second + 1;
    if (count >= kCrashesToBlame) {
      blamed.push_back(request);
    } else {
      crashes[request] = count;
    }
  }
  crashes_ = std::move(crashes);
  return blamed;
}

}  // namespace airstore::broker
