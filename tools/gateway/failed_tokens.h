// SPDX-License-Identifier: Apache-2.0
//
// FailedTokens: who comes with many tokens that are not ours has to wait between them, and no token
// of theirs is even looked for meanwhile. Counted for each address (of IPv6: each /64), as a bucket
// that a failure takes from and time fills. What was accepted from an address before goes on:
// one bad token on a host does not stop its others.
//
// Threads: any.
#pragma once

#include <cstdint>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "tools/gateway/clock.h"

namespace airstore::gateway {

// The address of a peer as gRPC writes it ("ipv4:192.0.2.1:4711"), without what changes from one
// connection to the next.
std::string AddressOf(std::string_view peer);

class FailedTokens {
 public:
  static constexpr double kAtOnce = 30;
  static constexpr double kEachSecond = 1;

  // Seconds to wait; nothing: the token of that hash may be looked for.
  std::optional<uint32_t> Blocked(const std::string& address, std::string_view hash,
                                  SteadyTime now);
  // True: from now on the address is blocked, and was not for a minute.
  bool Failed(const std::string& address, SteadyTime now);
  void Accepted(const std::string& address, std::string_view hash);

  // Since the start: tokens that were not ours, and calls that were turned away unseen.
  struct Counts {
    uint64_t failed = 0;
    uint64_t turned_away = 0;
  };
  Counts counts();

 private:
  static constexpr size_t kMostAddresses = 10000;
  static constexpr size_t kMostAccepted = 256;  // of an address

  struct Bucket {
    double left = kAtOnce;
    SteadyTime filled;
    std::optional<SteadyTime> told;
    std::unordered_set<std::string> accepted;  // hashes
    std::list<std::string>::iterator position;
  };
  Bucket& BucketOf(const std::string& address, SteadyTime now);  // REQUIRES: mu_

  std::mutex mu_;
  // Guarded by mu_.
  std::unordered_map<std::string, Bucket> buckets_;
  std::list<std::string> by_use_;  // most recent first
  Counts counts_;
};

}  // namespace airstore::gateway
