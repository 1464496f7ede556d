// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/metadata_store.h"

#include <algorithm>
#include <chrono>
#include <random>
#include <thread>

namespace airstore::gateway {

bool PauseAfterConflict(int attempt) {
  constexpr int kMostAttempts = 100;
  if (attempt >= kMostAttempts) return false;
  // Random, so that two gateways do not go on meeting; the first time, at once.
  static thread_local std::minstd_rand random{std::random_device{}()};
  const int most_us = std::min(attempt - 1, 20) * 1000;
  std::this_thread::sleep_for(
      std::chrono::microseconds(std::uniform_int_distribution<int>(0, most_us)(random)));
  return true;
}

}  // namespace airstore::gateway
