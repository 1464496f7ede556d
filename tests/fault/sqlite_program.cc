// SPDX-License-Identifier: Apache-2.0
//
// Transactions of SQLite, with a write-ahead log or a rollback journal.
// Log: c ROWS: a transaction has committed, with which there are so many rows.
#include <sqlite3.h>

#include <memory>

#include "tests/e2e/support/files.h"
#include "tests/fault/ack_log.h"

namespace airstore::fault {
namespace {

struct Close {
  void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
};
using Db = std::unique_ptr<sqlite3, Close>;

Db Open(const std::string& directory) {
  sqlite3* db = nullptr;
  sqlite3_open((directory + "/db").c_str(), &db);
  return Db(db);
}

// All columns of all rows, with spaces in between.
bool Query(const Db& db, const std::string& sql, std::string* out) {
  const auto append = [](void* text, int columns, char** values, char**) {
    for (int i = 0; i < columns; ++i) {
      *static_cast<std::string*>(text) += std::string(values[i] != nullptr ? values[i] : "") + " ";
    }
    return 0;
  };
  return sqlite3_exec(db.get(), sql.c_str(), append, out, nullptr) == SQLITE_OK;
}

bool Fail(AckLog& log, const Db& db, const std::string& what) {
  const std::string text = what + " (" + sqlite3_errmsg(db.get()) + ")";
  errno = sqlite3_system_errno(db.get());
  if (errno == 0) errno = EIO;  // what SQLite makes of a short read or a lock that is gone
  return log.Fail(text);
}

std::string BlobOf(uint64_t seed, uint64_t row) {
  const std::string bytes = e2e::RandomBytes(seed * 13 + row, 200 + row % 7 * 300);
  constexpr char kHex[] = "0123456789abcdef";
  std::string hex;
  for (const char c : bytes) {
    hex += kHex[static_cast<unsigned char>(c) >> 4];
    hex += kHex[c & 15];
  }
  return hex;
}

void Run(AckLog& log, const LoadOrder& order) {
  const Db db = Open(order.directory);
  std::string ignored;
  const char* mode = order.seed % 2 == 0 ? "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL"
                                         : "PRAGMA journal_mode=DELETE; PRAGMA synchronous=EXTRA";
  if (!Query(db, mode, &ignored) ||
      !Query(db, "CREATE TABLE t(n INTEGER PRIMARY KEY, v BLOB)", &ignored)) {
    Fail(log, db, "create");
    return;
  }
  if (!log.Ack("c 0")) return;
  for (uint64_t rows = 0; !log.over();) {
    std::string sql = "BEGIN;";
    const uint64_t more = 1 + rows % 3;
    for (uint64_t i = 0; i < more; ++i) {
      ++rows;
      sql +=
          "INSERT INTO t VALUES(" + std::to_string(rows) + ",x'" + BlobOf(order.seed, rows) + "');";
    }
    if (!Query(db, sql + "COMMIT", &ignored)) {
      Fail(log, db, "transaction");
      return;
    }
    if (!log.Ack("c " + std::to_string(rows))) return;
  }
}

std::string Check(const LogLines& lines, const std::string& directory, const LoadOrder& order,
                  Kept /*both are the same: a commit syncs*/) {
  bool committed = false;
  uint64_t rows = 0;
  for (const auto& words : lines) {
    if (words[0] != "c") continue;
    committed = true;
    rows = std::stoull(words.at(1));
  }
  if (!committed) return "";
  const Db db = Open(directory);
  std::string found;
  if (!Query(db, "PRAGMA integrity_check", &found) || found != "ok ") {
    return "integrity_check: " + found + sqlite3_errmsg(db.get());
  }
  std::string count;
  if (!Query(db, "SELECT count(*) FROM t", &count)) return sqlite3_errmsg(db.get());
  if (std::stoull(count) < rows) return count + "rows of " + std::to_string(rows);
  for (uint64_t row = 1; row <= std::stoull(count); ++row) {
    std::string value;
    Query(db, "SELECT lower(hex(v)) FROM t WHERE n=" + std::to_string(row), &value);
    if (value != BlobOf(order.seed, row) + " ") return "row " + std::to_string(row) + " is wrong";
  }
  return "";
}

}  // namespace

const LoadProgram kSqliteProgram{Run, Check};

}  // namespace airstore::fault
