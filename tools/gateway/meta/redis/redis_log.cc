// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/meta/redis/redis_log.h"

#include <charconv>

#include "tools/gateway/meta/redis/redis_row.h"

namespace airstore::gateway {
namespace {

constexpr unsigned kSequenceBits = 22;

enum Kind : uint64_t { kChange, kRecall, kLockFreed, kForget, kMark };

uint64_t NumberFrom(std::string_view text) {
  uint64_t value = 0;
  (void)std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// Numbers of scripts are doubles, so cursors stay ids there, and are compared by nobody. Of each
// entry: e, the event; k, whether it is a change, and by whom.
constexpr const char* kTrim = R"(
local log, tail = KEYS[1], KEYS[2]
local events, bytes = redis.call('XLEN', log), tonumber(redis.call('HGET', tail, 'b') or '0')
local most_events, most_bytes = tonumber(ARGV[1]), tonumber(ARGV[2])
if events <= most_events and bytes <= most_bytes then return 0 end
local gone, from = 0, '-'
local last, by, n, o = unpack(redis.call('HMGET', tail, 't', 'by', 'n', 'o'))
while events > 1 and (events > most_events / 2 or bytes > most_bytes / 2) do
  local page = redis.call('XRANGE', log, from, '+', 'COUNT', 100)
  if #page == 0 then break end
  for _, entry in ipairs(page) do
    if events <= 1 or (events <= most_events / 2 and bytes <= most_bytes / 2) then break end
    last = entry[1]
    local author = entry[2][4]
    if author ~= '' then
      if author ~= by then o = n or '0-0' by = author end
      n = last
    end
    events, bytes, gone = events - 1, bytes - #entry[2][2], gone + 1
    redis.call('XDEL', log, last)
  end
end
redis.call('HSET', tail, 't', last, 'by', by or '', 'n', n or '0-0', 'o', o or '0-0', 'b', bytes)
return gone
)";

}  // namespace

std::string RedisNews::Pack() const {
  return RowWriter()
      .Text({&kind, 1})
      .Signed(workspace)
      .Text(session ? session->view() : std::string_view())
      .Number(cursor)
      .Text(token)
      .Take();
}

std::optional<RedisNews> RedisNews::Unpack(std::string_view bytes) {
  RowReader r(bytes);
  RedisNews news;
  const std::string kind = r.Text();
  news.workspace = r.Signed();
  const std::string session = r.Text();
  news.cursor = r.Number();
  news.token = r.Text();
  if (!r.ok() || kind.size() != 1) return std::nullopt;
  news.kind = kind.front();
  if (session.size() == 16) news.session = SessionId::From(session);
  return news;
}

std::string IdOf(uint64_t cursor) {
  return std::to_string(cursor >> kSequenceBits) + "-" +
         std::to_string(cursor & ((uint64_t{1} << kSequenceBits) - 1));
}

uint64_t CursorOf(std::string_view id) {
  const size_t dash = id.find('-');
  if (dash == std::string_view::npos) return 0;
  return (NumberFrom(id.substr(0, dash)) << kSequenceBits) + NumberFrom(id.substr(dash + 1));
}

std::vector<RedisCommand> LogCommands(const RedisKeys& keys, WorkspaceKey ws,
                                      const LoggedEvent& logged) {
  const HubEvent& event = logged.event;
  RowWriter row;
  const Kind kind = event.changes             ? kChange
                    : event.lease_recall != 0 ? kRecall
                    : event.lock_freed != 0   ? kLockFreed
                    : event.forget != 0       ? kForget
                                              : kMark;
  row.Number(kind).Text(logged.session.view());
  if (event.changes) {
    row.Number(event.changes->inodes.size());
    for (const InodeNo ino : event.changes->inodes) row.Number(ino);
    row.Number(event.changes->names.size());
    for (const ChangeSet::Name& name : event.changes->names)
      row.Number(name.parent).Text(name.name);
    // Last: older events end before it.
    for (const SessionId& session : event.changes->only) row.Text(session.view());
  } else {
    row.Number(event.lease_recall + event.lock_freed + event.forget);  // one of them
  }
  std::string bytes = row.Take();
  const std::string size = std::to_string(bytes.size());
  RedisNews news;
  news.kind = RedisNews::kLog;
  news.workspace = ws;
  return {{"XADD", keys.Log(ws), "*", "e", std::move(bytes), "k",
           event.changes ? std::string(logged.session.view()) : std::string()},
          {"HINCRBY", keys.LogTail(ws), "b", size},
          {"PUBLISH", keys.Channel(), news.Pack()}};
}

std::optional<LoggedEvent> EventFrom(const RedisReply& entry) {
  if (entry.items.size() != 2 || entry.items[1].items.size() < 2) return std::nullopt;
  LoggedEvent logged;
  logged.event.cursor = CursorOf(entry.items[0].text);
  const std::string& row = entry.items[1].items[1].text;
  logged.bytes = row.size() + sizeof logged;
  RowReader r(row);
  const uint64_t kind = r.Number();
  const std::string session = r.Text();
  if (session.size() != 16) return std::nullopt;
  logged.session = SessionId::From(session);
  if (kind != kChange) {
    const uint64_t number = r.Number();
    if (kind == kRecall) logged.event.lease_recall = number;
    if (kind == kLockFreed) logged.event.lock_freed = number;
    if (kind == kForget) logged.event.forget = number;
    return r.ok() ? std::optional(std::move(logged)) : std::nullopt;
  }
  ChangeSet changes;
  for (uint64_t i = r.Number(); i > 0 && r.ok(); --i) changes.inodes.push_back(r.Number());
  for (uint64_t i = r.Number(); i > 0 && r.ok(); --i) {
    const InodeNo parent = r.Number();
    changes.names.push_back({parent, r.Text()});
  }
  while (r.ok() && !r.at_end()) {
    const std::string only = r.Text();
    if (only.size() != 16) return std::nullopt;
    changes.only.push_back(SessionId::From(only));
  }
  if (!r.ok()) return std::nullopt;
  logged.event.changes = std::make_shared<const ChangeSet>(std::move(changes));
  return logged;
}

ForgottenEvents ForgottenFrom(const RedisReply& tail) {
  ForgottenEvents forgotten;
  // Cursors of sessions are 1 at least, so 0 is a gap from the start.
  forgotten.cursor = forgotten.newest = forgotten.other = 1;
  if (tail.items.size() != kTailFields.size() || tail.items[0].is_nil()) return forgotten;
  forgotten.cursor = CursorOf(tail.items[0].text);
  if (tail.items[1].text.size() == 16) {
    forgotten.newest_by = SessionId::From(tail.items[1].text);
    forgotten.newest = std::max<uint64_t>(CursorOf(tail.items[2].text), 1);
    forgotten.other = std::max<uint64_t>(CursorOf(tail.items[3].text), 1);
  }
  return forgotten;
}

RedisCommand TrimCommand(const RedisKeys& keys, WorkspaceKey ws, uint64_t most_events,
                         uint64_t most_bytes) {
  return {"EVAL",
          kTrim,
          "2",
          keys.Log(ws),
          keys.LogTail(ws),
          std::to_string(most_events),
          std::to_string(most_bytes)};
}

}  // namespace airstore::gateway
