// SPDX-License-Identifier: Apache-2.0
//
// What a transaction sees of a Redis server: what is there, under what it has changed itself. It
// knows values, maps (redis_keys.h) and counters; what they mean is for redis_transaction.h.
//
// Reads and guards: who reads names the guard that the data stands under, and the view remembers
// how far the guard's counter was before. A reader's data is of one moment if no guard has moved
// when it is done. A writer has its guards watched by the server, sends all its changes as one
// MULTI, and the server does them all, or none when a guard has moved.
//
// That is so of what has one hash tag: a cluster has other tags on other servers, and a single
// server is treated alike. A transaction that changes things of two tags is two MULTIs, of which
// one decides; ARCHITECTURE.md, "Redis", has them all. What was only read under another tag has not
// moved until all was read, but may until the commit.
//
// Failure is sticky, as in metadata_store.h.
//
// Threads: one at a time.
// Ownership: borrows the route.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tools/gateway/meta/redis/redis_keys.h"
#include "tools/gateway/meta/redis/redis_route.h"

namespace airstore::gateway {

class RedisView {
 public:
  // Of a map's key: what comes from there on, and before there. Empty: no bound.
  struct Range {
    std::string from;
    std::string before;
  };

  // The MULTI of which slot is sent last, if there are several: the one that decides.
  // kDecidesFirst: it is sent first, and others are done whatever has moved meanwhile.
  enum class Order { kDecidesLast, kDecidesFirst };

  RedisView(RedisRoute& route, bool writes) : route_(route), writes_(writes) {}

  const Error& failure() const { return failure_; }
  bool failed() const { return failed_; }
  void Fail(Error error);
  // For rows that make no sense.
  void FailDamaged(const std::string& what);

  // ---- Reads. `guard`: of the data; empty: none is wanted.
  std::optional<std::string> Get(const std::string& guard, const std::string& key);
  // The guards of all keys at once.
  std::vector<std::optional<std::string>> GetAll(const std::vector<std::string>& guards,
                                                 const std::vector<std::string>& keys);
  std::optional<std::string> Find(const std::string& guard, const RedisMap& map,
                                  const std::string& field);
  // Keys with their values, in order; `limit` 0: all.
  std::vector<std::pair<std::string, std::string>> List(const std::string& guard,
                                                        const RedisMap& map, const Range& range,
                                                        size_t limit);
  // The last key before `before`, with its value.
  std::optional<std::pair<std::string, std::string>> LastBefore(const std::string& guard,
                                                                const RedisMap& map,
                                                                const std::string& before);
  // Members and values that are going to be asked for, in one round trip.
  void Expect(const std::vector<std::string>& guards,
              const std::vector<std::pair<RedisMap, std::string>>& members,
              const std::vector<std::string>& keys);
  // Commands of the caller's own, that only read; their replies. No changes of the view in them.
  std::vector<RedisReply> Ask(const std::string& guard, std::vector<RedisCommand> commands);
  // With each MULTI and EXEC that is in them, all of the slot of `key`. Not of a writer: an EXEC
  // ends what is watched.
  std::vector<RedisReply> AskAtOnce(const std::string& key,
                                    const std::vector<RedisCommand>& commands);

  // ---- Changes.
  void Put(const std::string& guard, const std::string& key, std::string value);
  void Erase(const std::string& guard, const std::string& key);
  void Put(const std::string& guard, const RedisMap& map, const std::string& field,
           std::string value);
  void Erase(const std::string& guard, const RedisMap& map, const std::string& field);
  // A command of the caller's own, done before all others. The view does not show what it does.
  // Answers its place in done().
  size_t Do(const std::string& guard, RedisCommand command);

  // Whether all that was read is of one moment; else kStoreConflict, which sticks.
  Result<void> Validate();
  Result<void> Commit(RedisSlot deciding, Order order);
  // Behind Commit(): the replies to what Do() was given.
  const std::vector<RedisReply>& done() const { return done_; }

  // The first of all texts that do not begin with `prefix` and come behind those that do; empty:
  // there is none.
  static std::string Behind(std::string prefix);

 private:
  using Fields = std::map<std::string, std::optional<std::string>>;  // nothing: erased
  struct Changed {
    size_t width = 0;
    Fields fields;
  };

  std::vector<RedisReply> Read(const std::vector<std::string>& guards,
                               std::vector<RedisCommand> commands);
  void Touch(const std::string& guard);
  const Fields* ChangesOf(const RedisMap& map) const;
  static std::string FieldOf(const RedisMap& map, const std::string& member);
  static std::pair<std::string, std::string> Split(const RedisMap& map, const std::string& member);
  // All that is done in one slot, and where the replies to what Do() was given belong.
  struct Changes {
    std::vector<RedisCommand> commands;
    std::vector<size_t> places;
  };
  std::map<RedisSlot, Changes> TakeChanges();
  Result<void> CommitIn(RedisSlot slot, Changes changes);

  RedisRoute& route_;
  const bool writes_;
  bool failed_ = false;
  Error failure_{0, {}};
  size_t reads_ = 0;                                     // round trips
  std::unordered_map<std::string, std::string> guards_;  // with their counters, of readers
  std::set<std::string> touched_;                        // guards of what was changed
  std::map<std::string, std::optional<std::string>> values_;
  std::map<std::string, Changed> maps_;
  std::unordered_map<std::string, std::optional<std::string>> expected_;  // values
  // Members of maps that were looked for, as the server has them: what they replace is known.
  std::unordered_map<std::string, std::optional<std::string>> seen_;
  std::vector<RedisCommand> own_;
  std::vector<RedisReply> done_;
};

}  // namespace airstore::gateway
