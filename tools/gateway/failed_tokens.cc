// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/failed_tokens.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cmath>
#include <cstring>

namespace airstore::gateway {

std::string AddressOf(std::string_view peer) {
  if (!peer.starts_with("ipv4:") && !peer.starts_with("ipv6:")) {
    return std::string(peer.substr(0, peer.find(':')));  // of this host
  }
  const size_t port = peer.rfind(':');
  std::string address(peer.substr(0, port));
  if (address.starts_with("ipv4:")) return address;
  // ipv6:[2001:db8::1]:4711, where older versions of gRPC write the brackets as %5B and %5D.
  std::string text = address.substr(5);
  for (const char* bracket : {"%5B", "%5D", "[", "]"}) {
    const size_t at = text.find(bracket);
    if (at != std::string::npos) text.erase(at, strlen(bracket));
  }
  text = text.substr(0, text.find('%'));  // a scope
  in6_addr parsed{};
  if (inet_pton(AF_INET6, text.c_str(), &parsed) != 1) return address;
  if (IN6_IS_ADDR_V4MAPPED(&parsed)) return "ipv4:" + text.substr(text.rfind(':') + 1);
  memset(&parsed.s6_addr[8], 0, 8);
  char network[INET6_ADDRSTRLEN];
  return "ipv6:" + std::string(inet_ntop(AF_INET6, &parsed, network, sizeof network)) + "/64";
}

FailedTokens::Bucket& FailedTokens::BucketOf(const std::string& address, SteadyTime now) {
  const auto [at, added] = buckets_.try_emplace(address);
  Bucket& bucket = at->second;
  if (added) {
    bucket.filled = now;
    bucket.position = by_use_.insert(by_use_.begin(), address);
    if (buckets_.size() > kMostAddresses) {
      buckets_.erase(by_use_.back());
      by_use_.pop_back();
    }
    return bucket;
  }
  by_use_.splice(by_use_.begin(), by_use_, bucket.position);
  const std::chrono::duration<double> passed = now - bucket.filled;
  bucket.left = std::min(kAtOnce, bucket.left + passed.count() * kEachSecond);
  bucket.filled = now;
  return bucket;
}

std::optional<uint32_t> FailedTokens::Blocked(const std::string& address, std::string_view hash,
                                              SteadyTime now) {
  const std::lock_guard lock(mu_);
  const auto found = buckets_.find(address);
  if (found == buckets_.end()) return std::nullopt;
  const Bucket& bucket = BucketOf(address, now);
  if (bucket.left >= 1 || bucket.accepted.contains(std::string(hash))) return std::nullopt;
  ++counts_.turned_away;
  return static_cast<uint32_t>(std::ceil((1 - bucket.left) / kEachSecond));
}

bool FailedTokens::Failed(const std::string& address, SteadyTime now) {
  const std::lock_guard lock(mu_);
  ++counts_.failed;
  Bucket& bucket = BucketOf(address, now);
  bucket.left = std::max(0.0, bucket.left - 1);
  if (bucket.left >= 1) return false;
  if (bucket.told && now - *bucket.told < std::chrono::minutes(1)) return false;
  bucket.told = now;
  return true;
}

void FailedTokens::Accepted(const std::string& address, std::string_view hash) {
  const std::lock_guard lock(mu_);
  Bucket& bucket = BucketOf(address, SteadyNow());
  if (bucket.accepted.size() >= kMostAccepted) bucket.accepted.clear();
  bucket.accepted.emplace(hash);
}

FailedTokens::Counts FailedTokens::counts() {
  const std::lock_guard lock(mu_);
  return counts_;
}

}  // namespace airstore::gateway
