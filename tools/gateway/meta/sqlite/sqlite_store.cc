// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/meta/sqlite/sqlite_store.h"

#include "tools/gateway/meta/sqlite/sqlite_schema.h"
#include "tools/gateway/meta/sqlite/sqlite_transaction.h"

namespace airstore::gateway {

Result<std::unique_ptr<SqliteStore>> SqliteStore::Open(const std::string& path) {
  auto db = SqliteDb::Open(path);
  if (!db) return db.error();
  int64_t version = 0;
  {
    Query q(**db, "PRAGMA user_version");
    if (q.Step()) version = q.Int(0);
  }
  if ((*db)->failed()) return (*db)->failure();
  if (version >= 0 && version < kSqliteSchemaVersion) {
    AIRSTORE_TRY((*db)->Execute("BEGIN IMMEDIATE"));
    if (version == 0) AIRSTORE_TRY((*db)->Execute(kSqliteSchema));
    for (int64_t from = version; from != 0 && from < kSqliteSchemaVersion; ++from) {
      AIRSTORE_TRY((*db)->Execute(kSqliteMigrations[from - 1]));
    }
    const std::string mark = "PRAGMA user_version=" + std::to_string(kSqliteSchemaVersion);
    AIRSTORE_TRY((*db)->Execute(mark.c_str()));
    AIRSTORE_TRY((*db)->Execute("COMMIT"));
  } else if (version != kSqliteSchemaVersion) {
    return Error{EPROTO, path + " has schema " + std::to_string(version) + ", this program knows " +
                             std::to_string(kSqliteSchemaVersion)};
  }
  std::unique_ptr<SqliteStore> store(new SqliteStore(path));
  store->writer_ = std::move(*db);
  return store;
}

Result<std::string> SqliteStore::Identity() {
  std::lock_guard lock(writer_mu_);
  // No part of the schema: databases whose blocks lie beside them have no need of it.
  AIRSTORE_TRY(writer_->Execute(
      "BEGIN IMMEDIATE; CREATE TABLE IF NOT EXISTS identity(id BLOB NOT NULL);"
      "INSERT INTO identity SELECT randomblob(16) WHERE NOT EXISTS (SELECT 1 FROM identity);"
      "COMMIT"));
  writer_->ClearFailure();
  std::string id;
  {
    Query q(*writer_, "SELECT id FROM identity");
    if (q.Step()) id = q.String(0);
  }
  if (writer_->failed()) return writer_->failure();
  return id;
}

Result<std::unique_ptr<MetadataReader>> SqliteStore::Read() {
  std::unique_ptr<SqliteDb> db;
  {
    std::lock_guard lock(readers_mu_);
    if (!readers_.empty()) {
      db = std::move(readers_.back());
      readers_.pop_back();
    }
  }
  if (!db) {
    auto opened = SqliteDb::Open(path_);
    if (!opened) return opened.error();
    db = std::move(*opened);
  }
  auto txn = std::make_unique<SqliteTransaction>(*this, std::move(db));
  AIRSTORE_TRY(txn->Begin());
  return std::unique_ptr<MetadataReader>(std::move(txn));
}

Result<std::unique_ptr<MetadataWriter>> SqliteStore::Write() {
  auto txn = std::make_unique<SqliteTransaction>(*this, std::unique_lock(writer_mu_));
  AIRSTORE_TRY(txn->Begin());
  return std::unique_ptr<MetadataWriter>(std::move(txn));
}

void SqliteStore::GiveBack(std::unique_ptr<SqliteDb> reader) {
  std::lock_guard lock(readers_mu_);
  readers_.push_back(std::move(reader));
}

SqliteTransaction::SqliteTransaction(SqliteStore& store, std::unique_ptr<SqliteDb> reader)
    : store_(store), reader_(std::move(reader)), db_(*reader_) {
  db_.ClearFailure();
}

SqliteTransaction::SqliteTransaction(SqliteStore& store, std::unique_lock<std::mutex> writer_lock)
    : store_(store), writer_lock_(std::move(writer_lock)), db_(*store.writer_) {
  db_.ClearFailure();
}

SqliteTransaction::~SqliteTransaction() {
  if (open_) {
    // After some failures (disk full) SQLite has rolled back by itself, and ROLLBACK is an error.
    (void)db_.Execute("ROLLBACK");
  }
  if (reader_) store_.GiveBack(std::move(reader_));
}

Result<void> SqliteTransaction::Begin() {
  if (reader_) {
    Query(db_, "BEGIN").Run();
  } else {
    Query(db_, "BEGIN IMMEDIATE").Run();
  }
  AIRSTORE_TRY(status());
  open_ = true;
  return {};
}

Result<void> SqliteTransaction::status() const {
  if (db_.failed()) return db_.failure();
  return {};
}

Result<void> SqliteTransaction::Commit() {
  AIRSTORE_TRY(status());
  Query(db_, "COMMIT").Run();
  AIRSTORE_TRY(status());
  open_ = false;
  return {};
}

}  // namespace airstore::gateway
