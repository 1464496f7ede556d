// SPDX-License-Identifier: Apache-2.0
//
// How a Redis Cluster spreads keys: over 16,384 slots, by the hash tag in a key's braces, and slots
// over servers. A server that is asked for what it has not got says who has it: MOVED, for good, or
// ASK, for this once, while the slot is on its way from one server to another.
//
// Threads: plain functions and values.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/gateway/meta/redis/redis_connection.h"

namespace airstore::gateway {

using RedisSlot = uint16_t;
inline constexpr size_t kRedisSlots = 16384;

RedisSlot SlotOf(std::string_view key);
// Of the command's first key: all its keys have the same tag. Nothing: any server can do it.
std::optional<RedisSlot> SlotOf(const RedisCommand& command);

struct Redirection {
  enum class Kind {
    kMoved,
    kAsk,
    kTryAgain,  // the slot is on its way, and the command's keys are not all at one place
  };
  Kind kind = Kind::kMoved;
  RedisSlot slot = 0;
  RedisAddress to;  // not of kTryAgain
};
// `asked`: who answered; servers that do not know their own name leave the host out.
std::optional<Redirection> RedirectionOf(const RedisReply& reply, const RedisAddress& asked);

class SlotMap {
 public:
  SlotMap() : owners_(kRedisSlots, kNobody) {}
  // Of CLUSTER SLOTS. Nothing: that is not its answer, or no slot is anybody's.
  static std::optional<SlotMap> From(const RedisReply& reply, const RedisAddress& asked);

  const RedisAddress* Owner(RedisSlot slot) const;
  void Put(RedisSlot slot, const RedisAddress& owner);
  // All that was told of: masters first.
  const std::vector<RedisAddress>& servers() const { return servers_; }
  std::vector<RedisAddress> Masters() const;
  bool empty() const { return servers_.empty(); }

 private:
  static constexpr uint16_t kNobody = UINT16_MAX;
  uint16_t Place(const RedisAddress& server);

  std::vector<RedisAddress> servers_;
  std::vector<uint16_t> owners_;  // places in servers_
};

}  // namespace airstore::gateway
