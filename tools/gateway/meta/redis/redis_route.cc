// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/meta/redis/redis_route.h"

#include "tools/gateway/metadata_store.h"

namespace airstore::gateway {
namespace {

constexpr int kMostHops = 5;

Error OnItsWay() { return {kStoreConflict, "Redis: the slot is on its way to another server"}; }
Error Elsewhere() { return {kStoreConflict, "Redis: the slot has gone to another server"}; }

}  // namespace

RedisRoute::~RedisRoute() {
  while (!watching_.empty()) Unwatch(*watching_.begin());
  for (auto& [slot, connection] : lines_) pool_.GiveBack(std::move(connection));
}

void RedisRoute::Unwatch(RedisSlot slot) {
  if (watching_.erase(slot) == 0) return;
  const auto it = lines_.find(slot);
  if (it != lines_.end() && !it->second->broken()) {
    (void)it->second->Call(RedisCommand{"UNWATCH"});
  }
}

Result<RedisConnection*> RedisRoute::LineOf(RedisSlot slot) {
  auto& line = lines_[slot];
  if (!line) {
    auto connection = pool_.Take(slot);
    if (!connection) {
      lines_.erase(slot);
      return connection.error();
    }
    line = std::move(*connection);
  }
  return line.get();
}

void RedisRoute::Drop(RedisSlot slot) {
  Unwatch(slot);
  const auto it = lines_.find(slot);
  if (it == lines_.end()) return;
  pool_.GiveBack(std::move(it->second));
  lines_.erase(it);
}

std::optional<Redirection> RedisRoute::Redirected(RedisSlot slot, const RedisReply& reply) {
  if (!reply.is_error()) return std::nullopt;
  if (reply.text.starts_with("CLUSTERDOWN")) pool_.Distrust();
  const auto it = lines_.find(slot);
  auto found = RedirectionOf(reply, it == lines_.end() ? RedisAddress{} : it->second->address());
  // A single server has nowhere to send us.
  return pool_.is_cluster() ? found : std::nullopt;
}

Result<std::vector<RedisReply>> RedisRoute::Call(RedisSlot slot, Bond bond,
                                                 std::span<const RedisCommand> commands) {
  for (int hop = 1;; ++hop) {
    const auto line = LineOf(slot);
    if (!line) return line.error();
    const bool watched = watching_.contains(slot);
    if (bond == Bond::kWatch) watching_.insert(slot);
    if (bond == Bond::kAtOnce) watching_.erase(slot);
    auto replies = (*line)->Call(commands);
    if (!replies) return replies;
    std::optional<Redirection> first;
    size_t place = 0;
    for (; place < replies->size() && !first; ++place) first = Redirected(slot, (*replies)[place]);
    if (!first) return replies;
    if (first->kind == Redirection::Kind::kMoved) {
      pool_.Learn(*first);
      Drop(slot);
      // Nothing is done of what begins elsewhere, nor of a MULTI with a refused command.
      if (bond != Bond::kNone && !watched && hop < kMostHops) continue;
    }
    if (bond == Bond::kAtOnce || bond == Bond::kWatch || watched) {
      return first->kind == Redirection::Kind::kMoved ? Elsewhere() : OnItsWay();
    }
    for (size_t i = place - 1; i < replies->size(); ++i) {
      if (bond == Bond::kNone && !Redirected(slot, (*replies)[i])) continue;
      auto reply = Alone(slot, commands[i]);
      if (!reply) return reply.error();
      (*replies)[i] = std::move(*reply);
    }
    return replies;
  }
}

Result<RedisReply> RedisRoute::Alone(RedisSlot slot, const RedisCommand& command) {
  for (int hop = 1; hop <= kMostHops; ++hop) {
    const auto line = LineOf(slot);
    if (!line) return line.error();
    auto replies = (*line)->Call(std::span(&command, 1));
    if (!replies) return replies.error();
    const auto redirected = Redirected(slot, replies->front());
    if (!redirected) return std::move(replies->front());
    switch (redirected->kind) {
      case Redirection::Kind::kMoved:
        pool_.Learn(*redirected);
        Drop(slot);
        continue;
      case Redirection::Kind::kAsk:
      case Redirection::Kind::kTryAgain:
        if (command.front() == "MGET" && command.size() > 2) return OneByOne(slot, command);
        if (redirected->kind == Redirection::Kind::kTryAgain) return OnItsWay();
        return AtTarget(redirected->to, command);
    }
  }
  return Elsewhere();
}

Result<RedisReply> RedisRoute::AtTarget(const RedisAddress& server, const RedisCommand& command) {
  auto connection = pool_.TakeAt(server);
  if (!connection) return connection.error();
  const RedisCommand both[] = {{"ASKING"}, command};
  auto replies = (*connection)->Call(both);
  pool_.GiveBack(std::move(*connection));
  if (!replies) return replies.error();
  // Of several keys some have not arrived, or all went on to yet another server.
  if (RedirectionOf(replies->back(), server)) return OnItsWay();
  return std::move(replies->back());
}

Result<RedisReply> RedisRoute::OneByOne(RedisSlot slot, const RedisCommand& mget) {
  RedisReply all;
  all.kind = RedisReply::Kind::kArray;
  for (size_t i = 1; i < mget.size(); ++i) {
    auto one = Alone(slot, {"GET", mget[i]});
    if (!one) return one;
    if (one->is_error()) return one;
    all.items.push_back(std::move(*one));
  }
  return all;
}

Result<std::vector<RedisReply>> RedisRoute::CallEach(std::span<const RedisCommand> commands) {
  std::map<RedisSlot, std::vector<size_t>> places;
  RedisSlot slot = 0;
  for (const RedisCommand& command : commands) {
    if (const auto own = SlotOf(command)) {
      slot = *own;
      break;
    }
  }
  // What any server can do goes with what is before it.
  for (size_t i = 0; i < commands.size(); ++i) {
    slot = SlotOf(commands[i]).value_or(slot);
    places[slot].push_back(i);
  }
  if (places.size() == 1) return Call(slot, Bond::kNone, commands);
  std::vector<RedisReply> all(commands.size());
  for (const auto& [of, which] : places) {
    std::vector<RedisCommand> some;
    for (const size_t i : which) some.push_back(commands[i]);
    auto replies = Call(of, Bond::kNone, some);
    if (!replies) return replies;
    for (size_t i = 0; i < which.size(); ++i) all[which[i]] = std::move((*replies)[i]);
  }
  return all;
}

}  // namespace airstore::gateway
