// SPDX-License-Identifier: Apache-2.0
//
// The log of a workspace in Redis: what those who watch it are told, in commit order. Entries of a
// stream, whose ids are our cursors: the server gives them, and they only rise. A change is added
// by the very MULTI that makes it, together with a message that wakes the gateways (RedisBulletin).
//
// The log is bounded: Trim() takes the oldest half away, and keeps account of what that was, so
// that whoever comes with a cursor knows whether he has missed anything.
//
// Threads: plain functions.
#pragma once

#include <optional>
#include <vector>

#include "tools/gateway/events.h"
#include "tools/gateway/meta/redis/redis_connection.h"
#include "tools/gateway/meta/redis/redis_keys.h"

namespace airstore::gateway {

// What gateways tell each other over the channel: a letter, and what follows it in its order.
struct RedisNews {
  static constexpr char kLog = 'c';     // workspace: there is something new in its log
  static constexpr char kAck = 'a';     // workspace, session, cursor
  static constexpr char kForget = 'f';  // workspace, session: not to be waited for any more
  static constexpr char kFree = 'l';    // workspace: a lease has ended
  static constexpr char kBehind = 'b';  // workspace, session: did not acknowledge in time
  static constexpr char kEnd = 'e';     // workspace, session, token id: watches that have ended
  static constexpr char kAsk = '?';     // tell again what watchers of yours have acknowledged

  char kind = 0;
  WorkspaceKey workspace = 0;
  std::optional<SessionId> session;
  uint64_t cursor = 0;
  std::string token;

  std::string Pack() const;
  static std::optional<RedisNews> Unpack(std::string_view bytes);
};

// Of a stream's ids. A millisecond has room for four million.
std::string IdOf(uint64_t cursor);
uint64_t CursorOf(std::string_view id);

// The first of them adds the event to the log; its reply is the id. Cursor and gap of the event
// mean nothing.
std::vector<RedisCommand> LogCommands(const RedisKeys& keys, WorkspaceKey ws,
                                      const LoggedEvent& event);
// Nothing: damaged.
std::optional<LoggedEvent> EventFrom(const RedisReply& entry);
// Of HMGET of the log's tail, with kTailFields.
inline const std::vector<std::string> kTailFields = {"t", "by", "n", "o"};
ForgottenEvents ForgottenFrom(const RedisReply& tail);

// Takes the older half away when there are more than so many events or bytes.
RedisCommand TrimCommand(const RedisKeys& keys, WorkspaceKey ws, uint64_t most_events,
                         uint64_t most_bytes);

}  // namespace airstore::gateway
