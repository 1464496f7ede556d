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
// Failure is sticky, as in metadata_store.h.
//
// Threads: one at a time.
// Ownership: borrows the connection; whoever owns that calls Release() before others use it.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tools/gateway/meta/redis/redis_connection.h"
#include "tools/gateway/meta/redis/redis_keys.h"

namespace airstore::gateway {

class RedisView {
 public:
  // Of a map's key: what comes from there on, and before there. Empty: no bound.
  struct Range {
    std::string from;
    std::string before;
  };

  RedisView(RedisConnection& connection, bool writes) : connection_(connection), writes_(writes) {}

  const Error& failure() const { return failure_; }
  bool failed() const { return failed_; }
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
  Result<void> Commit();
  // Behind Commit(): the replies to all that was done.
  const std::vector<RedisReply>& done() const { return done_; }
  // Gives up what the server keeps for this transaction.
  void Release();

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
  void Fail(Error error);
  const Fields* ChangesOf(const RedisMap& map) const;
  static std::string FieldOf(const RedisMap& map, const std::string& member);
  static std::pair<std::string, std::string> Split(const RedisMap& map, const std::string& member);
  std::vector<RedisCommand> Changes();

  RedisConnection& connection_;
  const bool writes_;
  bool failed_ = false;
  Error failure_{0, {}};
  bool watching_ = false;
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
