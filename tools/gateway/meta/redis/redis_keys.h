// SPDX-License-Identifier: Apache-2.0
//
// Names of the keys. All of a workspace have one hash tag, so that they lie on one node of a Redis
// Cluster and may be changed together; what is about all workspaces has another one.
//
//   P:{W}:w          string   the workspace's row
//   P:{W}:u          hash     used bytes (b) and inodes (i)
//   P:{W}:i:INO      string   an inode
//   P:{W}:d:INO      map      entries of a directory: name and NUL -> inode number
//   P:{W}:e:INO      map      extents of a file: offset -> length, block, offset in it
//   P:{W}:x:INO      map      extended attributes: name and NUL -> value
//   P:{W}:b:ID       string   a block
//   P:{W}:g          zset     blocks without a reference, by microseconds when they were touched
//   P:{W}:s          map      sessions: id -> row
//   P:{W}:o:ID       map      outcomes of a session: last sequence -> first, data
//   P:{W}:n          map      inodes without a name: inode number -> session
//   P:{W}:l          map      leases: id -> inode number, session
//   P:{W}:h          set      sessions that live: who is not in it is in nobody's way
//   P:{W}:heard      zset     the same, by the milliseconds when they were heard of; and "beat" and
//                             "since": when gateways were at work last, and when they began to be
//   P:{W}:lc         counter  the last lease's id
//   P:{W}:z          map      zones that sessions may have cached: session, zone -> nothing
//   P:{W}:k          map      locks: inode number and kind -> who holds what
//   P:{W}:kw         map      wishes for locks: session, number -> wish
//   P:{W}:ks         map      sessions that have said what they hold, or lost it
//   P:{W}:c          stream   what those who watch are told (redis_log.h)
//   P:{W}:ct         hash     what the stream has forgotten, and how large it is
//   P:{W}:cw         hash     sessions that watch: 0, or 1 for those that were given up
//   P:{W}:v:...      counter  a guard: changes with whatever it stands for
//   P:{*}:living     zset     workspaces in which sessions may live, by the milliseconds when that
//                             was said last
//   P:{*}:beat       hash     when gateways were at work last
//   P:{*}:dying      map      workspaces that are being deleted (nothing), or made (since when)
//   P:{*}:told       channel  what gateways tell each other and need not keep
//   P:{*}:...                 schema, next key, names and ids of workspaces, tokens, members, which
//                             workspace a session belongs to
//
// A map is a sorted set whose members (key and value in one) all have the score 0: Redis sorts them
// as bytes, and finds one or a range of them by its beginning.
//
// Guards are what transactions watch: a read of a row is a read of its guard, a change of it counts
// the guard up. Inodes share kInodeGuards of them, neighbours the same one, because a batch makes
// neighbours. Where they lie is mixed: hosts are given ranges of numbers that begin at multiples of
// a power of two, and are not to meet for that.
//
// Threads: plain values.
#pragma once

#include <string>

#include "tools/gateway/meta/redis/redis_row.h"
#include "tools/gateway/types.h"

namespace airstore::gateway {

// A sorted set that is used as a map. `width`: of the key, in bytes; 0: it ends with its first NUL.
struct RedisMap {
  std::string key;
  size_t width = 0;
};

class RedisKeys {
 public:
  explicit RedisKeys(std::string prefix) : prefix_(std::move(prefix)) {}

  std::string Of(WorkspaceKey ws, std::string_view rest) const {
    return prefix_ + ":{" + std::to_string(ws) + "}:" + std::string(rest);
  }
  std::string Common(std::string_view rest) const { return prefix_ + ":{*}:" + std::string(rest); }

  std::string WorkspaceRow(WorkspaceKey ws) const { return Of(ws, "w"); }
  std::string Usage(WorkspaceKey ws) const { return Of(ws, "u"); }
  std::string InodeRow(WorkspaceKey ws, InodeNo ino) const { return Of(ws, Numbered("i:", ino)); }
  RedisMap Entries(WorkspaceKey ws, InodeNo ino) const { return {Of(ws, Numbered("d:", ino)), 0}; }
  RedisMap Extents(WorkspaceKey ws, InodeNo ino) const { return {Of(ws, Numbered("e:", ino)), 8}; }
  RedisMap Xattrs(WorkspaceKey ws, InodeNo ino) const { return {Of(ws, Numbered("x:", ino)), 0}; }
  std::string BlockRow(WorkspaceKey ws, const BlockId& id) const {
    return Of(ws, "b:" + std::string(id.view()));
  }
  std::string Garbage(WorkspaceKey ws) const { return Of(ws, "g"); }
  RedisMap Sessions(WorkspaceKey ws) const { return {Of(ws, "s"), 16}; }
  RedisMap Outcomes(WorkspaceKey ws, const SessionId& id) const {
    return {Of(ws, "o:" + std::string(id.view())), 8};
  }
  RedisMap Orphans(WorkspaceKey ws) const { return {Of(ws, "n"), 8}; }
  RedisMap Leases(WorkspaceKey ws) const { return {Of(ws, "l"), 8}; }

  std::string Live(WorkspaceKey ws) const { return Of(ws, "h"); }
  RedisMap Interests(WorkspaceKey ws) const { return {Of(ws, "z"), 24}; }
  std::string LeaseCount(WorkspaceKey ws) const { return Of(ws, "lc"); }
  RedisMap Locks(WorkspaceKey ws) const { return {Of(ws, "k"), 9}; }
  RedisMap LockWaits(WorkspaceKey ws) const { return {Of(ws, "kw"), 24}; }
  RedisMap LockSessions(WorkspaceKey ws) const { return {Of(ws, "ks"), 16}; }
  std::string Log(WorkspaceKey ws) const { return Of(ws, "c"); }
  std::string LogTail(WorkspaceKey ws) const { return Of(ws, "ct"); }
  std::string Watchers(WorkspaceKey ws) const { return Of(ws, "cw"); }

  std::string Schema() const { return Common("schema"); }
  // Counted up to stop gateways of schema 1, which shared nothing.
  std::string Owner() const { return Common("owner"); }
  std::string Heard(WorkspaceKey ws) const { return Of(ws, "heard"); }
  std::string Living() const { return Common("living"); }
  std::string Beat() const { return Common("beat"); }
  std::string Channel() const { return Common("told"); }
  std::string Identity() const { return Common("identity"); }
  std::string NextWorkspace() const { return Common("next"); }
  RedisMap Workspaces() const { return {Common("ws"), 8}; }  // key -> name
  RedisMap Dying() const { return {Common("dying"), 8}; }
  std::string ByName(std::string_view name) const { return Common("name:" + std::string(name)); }
  std::string ById(std::string_view id) const { return Common("id:" + std::string(id)); }
  RedisMap Tokens() const { return {Common("t"), 0}; }  // id and NUL -> row
  std::string ByHash(std::string_view hash) const { return Common("hash:" + std::string(hash)); }
  RedisMap Members() const { return {Common("m"), 0}; }  // id and NUL -> row
  std::string WorkspaceOf(const SessionId& id) const {
    return Common("s:" + std::string(id.view()));
  }

  std::string InodeGuard(WorkspaceKey ws, InodeNo ino) const {
    constexpr uint64_t kOdd = 0x9e3779b97f4a7c15;
    return Of(ws, Numbered("v:", (ino / kNeighbours * kOdd >> 32) % kInodeGuards));
  }
  std::string BlockGuard(WorkspaceKey ws, const BlockId& id) const {
    return Of(ws, Numbered("v:b", id.bytes[0]));
  }
  std::string SessionGuard(WorkspaceKey ws, const SessionId& id) const {
    return Of(ws, Numbered("v:s", id.bytes[0]));
  }
  std::string WorkspaceGuard(WorkspaceKey ws) const { return Of(ws, "v:w"); }
  std::string LeaseGuard(WorkspaceKey ws) const { return Of(ws, "v:l"); }
  std::string LockGuard(WorkspaceKey ws) const { return Of(ws, "v:k"); }
  std::string OrphanGuard(WorkspaceKey ws) const { return Of(ws, "v:n"); }
  std::string CommonGuard() const { return Common("v"); }

 private:
  static constexpr uint64_t kInodeGuards = 256;
  static constexpr uint64_t kNeighbours = 256;

  static std::string Numbered(std::string_view kind, uint64_t number) {
    return std::string(kind) + std::to_string(number);
  }

  const std::string prefix_;
};

}  // namespace airstore::gateway
