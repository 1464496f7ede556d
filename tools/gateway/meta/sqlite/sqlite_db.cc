// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/meta/sqlite/sqlite_db.h"

#include <sqlite3.h>

namespace airstore::gateway {
namespace {

int ErrnoOf(int rc) {
  switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return EAGAIN;
    case SQLITE_FULL:
      return ENOSPC;
    case SQLITE_NOMEM:
      return ENOMEM;
    case SQLITE_READONLY:
      return EROFS;
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return EACCES;
    default:
      return EIO;
  }
}

}  // namespace

Result<std::unique_ptr<SqliteDb>> SqliteDb::Open(const std::string& path) {
  sqlite3* handle = nullptr;
  // NOMUTEX: a connection is confined to one thread at a time by its user.
  const int rc =
      sqlite3_open_v2(path.c_str(), &handle,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  std::unique_ptr<SqliteDb> db(new SqliteDb(handle));
  if (rc != SQLITE_OK) {
    return Error{ErrnoOf(rc), "open " + path + " (" + sqlite3_errstr(rc) + ")"};
  }
  sqlite3_extended_result_codes(handle, 1);
  sqlite3_busy_timeout(handle, 10'000);
  // WAL: readers work on snapshots beside the one writer. FULL: a commit is on disk when answered.
  for (const char* pragma :
       {"PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "PRAGMA foreign_keys=OFF",
        "PRAGMA temp_store=MEMORY", "PRAGMA cache_size=-32768", "PRAGMA wal_autocheckpoint=4000",
        "PRAGMA journal_size_limit=67108864", "PRAGMA mmap_size=268435456"}) {
    AIRSTORE_TRY(db->Execute(pragma));
  }
  return db;
}

SqliteDb::~SqliteDb() {
  for (auto& [sql, stmt] : statements_) sqlite3_finalize(stmt);
  sqlite3_close_v2(db_);
}

Result<void> SqliteDb::Execute(const char* sql) {
  const int rc = sqlite3_exec(db_, sql, nullptr, nullptr, nullptr);
  if (rc == SQLITE_OK) return {};
  return Error{ErrnoOf(rc), std::string("sqlite: ") + sqlite3_errmsg(db_)};
}

int64_t SqliteDb::last_row_id() const { return sqlite3_last_insert_rowid(db_); }
int64_t SqliteDb::changes() const { return sqlite3_changes(db_); }

void SqliteDb::ClearFailure() {
  failed_ = false;
  failure_ = Error{0, {}};
}

void SqliteDb::Fail(const char* what, int rc) {
  if (failed_) return;
  failed_ = true;
  failure_ = Error{ErrnoOf(rc), std::string("sqlite ") + what + ": " + sqlite3_errmsg(db_)};
}

sqlite3_stmt* SqliteDb::Prepare(const char* sql) {
  auto [it, added] = statements_.try_emplace(sql, nullptr);
  if (it->second == nullptr) {
    const int rc =
        sqlite3_prepare_v3(db_, sql, -1, SQLITE_PREPARE_PERSISTENT, &it->second, nullptr);
    if (rc != SQLITE_OK) Fail("prepare", rc);
  }
  return it->second;
}

Query::~Query() {
  if (stmt_ == nullptr) return;
  sqlite3_reset(stmt_);
}

bool Query::Step() {
  if (stmt_ == nullptr || db_.failed()) return false;
  const int rc = sqlite3_step(stmt_);
  if (rc == SQLITE_ROW) return true;
  if (rc != SQLITE_DONE) db_.Fail("step", rc);
  return false;
}

int64_t Query::Int(int column) const { return sqlite3_column_int64(stmt_, column); }

std::string_view Query::Bytes(int column) const {
  const void* data = sqlite3_column_blob(stmt_, column);
  const int size = sqlite3_column_bytes(stmt_, column);
  if (data == nullptr) return {};
  return {static_cast<const char*>(data), static_cast<size_t>(size)};
}

void Query::Bind(int index, int64_t value) {
  const int rc = sqlite3_bind_int64(stmt_, index, value);
  if (rc != SQLITE_OK) db_.Fail("bind", rc);
}

void Query::Bind(int index, std::string_view blob) {
  // A null pointer would bind NULL; empty bytes are a value.
  const int rc = sqlite3_bind_blob64(stmt_, index, blob.data() == nullptr ? "" : blob.data(),
                                     blob.size(), SQLITE_STATIC);
  if (rc != SQLITE_OK) db_.Fail("bind", rc);
}

}  // namespace airstore::gateway
