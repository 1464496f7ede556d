// SPDX-License-Identifier: Apache-2.0
//
// A thin skin over sqlite3: one connection with its prepared statements and a sticky error, and a
// Query that binds, steps and resets itself. Exists to keep sqlite3.h and its return codes out of
// the engine's logic.
//
// Threads: a connection (and its queries) is used by one thread at a time.
// Ownership: SqliteDb owns the handle and the statements; a Query borrows one statement, so the
// same SQL must not be run recursively.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "shm/base/result.h"
#include "tools/gateway/types.h"

struct sqlite3;
struct sqlite3_stmt;

namespace airstore::gateway {

class SqliteDb {
 public:
  static Result<std::unique_ptr<SqliteDb>> Open(const std::string& path);
  ~SqliteDb();
  SqliteDb(const SqliteDb&) = delete;
  SqliteDb& operator=(const SqliteDb&) = delete;

  // Runs statements that are not worth preparing.
  Result<void> Execute(const char* sql);
  int64_t last_row_id() const;
  int64_t changes() const;

  // Sticky until ClearFailure(): the first error of a transaction.
  const Error& failure() const { return failure_; }
  bool failed() const { return failed_; }
  void ClearFailure();

 private:
  friend class Query;
  explicit SqliteDb(sqlite3* db) : db_(db) {}
  sqlite3_stmt* Prepare(const char* sql);
  void Fail(const char* what, int rc);

  sqlite3* db_;
  // Keyed by the address of the literal: every statement is written once, as a constant.
  std::unordered_map<const char*, sqlite3_stmt*> statements_;
  Error failure_{0, {}};
  bool failed_ = false;
};

class Query {
 public:
  template <typename... Args>
  Query(SqliteDb& db, const char* sql, const Args&... args) : db_(db) {
    if (db_.failed()) return;
    stmt_ = db_.Prepare(sql);
    int index = 0;
    if (stmt_ != nullptr) (Bind(++index, args), ...);
  }
  ~Query();
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;

  // True: there is a row. False: no more rows, or the connection has failed.
  bool Step();
  void Run() { Step(); }

  int64_t Int(int column) const;
  uint64_t Uint(int column) const { return static_cast<uint64_t>(Int(column)); }
  uint32_t Uint32(int column) const { return static_cast<uint32_t>(Int(column)); }
  std::string_view Bytes(int column) const;  // valid until the next Step()
  std::string String(int column) const { return std::string(Bytes(column)); }

  // Damaged rows must not become damaged memory: a wrong size reads as zeros.
  template <typename Id>
  Id Id16(int column) const {
    const std::string_view raw = Bytes(column);
    return raw.size() == 16 ? Id::From(raw) : Id{};
  }

 private:
  void Bind(int index, int64_t value);
  void Bind(int index, uint64_t value) { Bind(index, static_cast<int64_t>(value)); }
  void Bind(int index, uint32_t value) { Bind(index, static_cast<int64_t>(value)); }
  void Bind(int index, bool value) { Bind(index, static_cast<int64_t>(value)); }
  void Bind(int index, std::string_view blob);  // the bytes must outlive the query
  void Bind(int index, const std::string& blob) { Bind(index, std::string_view(blob)); }
  template <typename Tag>
  void Bind(int index, const gateway::Id16<Tag>& id) {
    Bind(index, id.view());
  }

  SqliteDb& db_;
  sqlite3_stmt* stmt_ = nullptr;
};

}  // namespace airstore::gateway
