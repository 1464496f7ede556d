// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/meta/redis/redis_slots.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>

namespace airstore::gateway {
namespace {

// CRC-16/XMODEM.
constexpr std::array<uint16_t, 256> kCrc = [] {
  std::array<uint16_t, 256> table = {};
  for (unsigned i = 0; i < table.size(); ++i) {
    unsigned crc = i << 8;
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 0x8000) != 0 ? crc << 1 ^ 0x1021 : crc << 1;
    table[i] = static_cast<uint16_t>(crc);
  }
  return table;
}();

template <typename Number>
bool Parse(std::string_view text, Number* number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number);
  return error == std::errc() && end == text.data() + text.size();
}

std::string_view Word(std::string_view* text) {
  const size_t end = std::min(text->find(' '), text->size());
  const std::string_view word = text->substr(0, end);
  text->remove_prefix(std::min(end + 1, text->size()));
  return word;
}

std::optional<RedisAddress> AddressFrom(const RedisReply& server, const RedisAddress& asked) {
  if (server.items.size() < 2 || server.items[1].integer < 1 || server.items[1].integer > 65535) {
    return std::nullopt;
  }
  const std::string& host = server.items[0].text;
  return RedisAddress{host.empty() || host == "?" ? asked.host : host,
                      static_cast<int>(server.items[1].integer)};
}

}  // namespace

RedisSlot SlotOf(std::string_view key) {
  if (const size_t open = key.find('{'); open != std::string_view::npos) {
    const size_t close = key.find('}', open + 1);
    if (close != std::string_view::npos && close != open + 1) {
      key = key.substr(open + 1, close - open - 1);
    }
  }
  uint16_t crc = 0;
  for (const char c : key) {
    crc = static_cast<uint16_t>(crc << 8 ^ kCrc[(crc >> 8 ^ static_cast<unsigned char>(c)) & 0xff]);
  }
  return crc % kRedisSlots;
}

std::optional<RedisSlot> SlotOf(const RedisCommand& command) {
  static const std::set<std::string_view> without = {"PUBLISH", "TIME", "MULTI", "EXEC", "UNWATCH"};
  const size_t place = command.front() == "EVAL" ? 3 : 1;
  if (command.size() <= place || without.contains(command.front())) return std::nullopt;
  return SlotOf(std::string_view(command[place]));
}

std::optional<Redirection> RedirectionOf(const RedisReply& reply, const RedisAddress& asked) {
  if (!reply.is_error()) return std::nullopt;
  std::string_view text = reply.text;
  const std::string_view kind = Word(&text);
  Redirection found;
  if (kind == "TRYAGAIN") {
    found.kind = Redirection::Kind::kTryAgain;
    return found;
  }
  if (kind != "MOVED" && kind != "ASK") return std::nullopt;
  if (kind == "ASK") found.kind = Redirection::Kind::kAsk;
  const std::string_view slot = Word(&text);
  const size_t colon = text.rfind(':');
  if (!Parse(slot, &found.slot) || found.slot >= kRedisSlots || colon == std::string_view::npos ||
      !Parse(text.substr(colon + 1), &found.to.port)) {
    return std::nullopt;
  }
  found.to.host = colon == 0 ? asked.host : text.substr(0, colon);
  return found;
}

std::optional<SlotMap> SlotMap::From(const RedisReply& reply, const RedisAddress& asked) {
  SlotMap map;
  std::vector<RedisAddress> replicas;
  for (const RedisReply& range : reply.items) {
    if (range.items.size() < 3) return std::nullopt;
    const int64_t first = range.items[0].integer, last = range.items[1].integer;
    if (first < 0 || last < first || last >= static_cast<int64_t>(kRedisSlots)) return std::nullopt;
    const auto master = AddressFrom(range.items[2], asked);
    if (!master) return std::nullopt;
    for (int64_t slot = first; slot <= last; ++slot) {
      map.Put(static_cast<RedisSlot>(slot), *master);
    }
    for (size_t i = 3; i < range.items.size(); ++i) {
      if (const auto replica = AddressFrom(range.items[i], asked)) replicas.push_back(*replica);
    }
  }
  if (map.empty()) return std::nullopt;
  for (const RedisAddress& replica : replicas) map.Place(replica);
  return map;
}

uint16_t SlotMap::Place(const RedisAddress& server) {
  const auto it = std::find(servers_.begin(), servers_.end(), server);
  const auto place = static_cast<uint16_t>(it - servers_.begin());
  if (it == servers_.end()) servers_.push_back(server);
  return place;
}

void SlotMap::Put(RedisSlot slot, const RedisAddress& owner) { owners_[slot] = Place(owner); }

const RedisAddress* SlotMap::Owner(RedisSlot slot) const {
  return owners_[slot] == kNobody ? nullptr : &servers_[owners_[slot]];
}

std::vector<RedisAddress> SlotMap::Masters() const {
  std::set<uint16_t> places(owners_.begin(), owners_.end());
  places.erase(kNobody);
  std::vector<RedisAddress> masters;
  for (const uint16_t place : places) masters.push_back(servers_[place]);
  return masters;
}

}  // namespace airstore::gateway
