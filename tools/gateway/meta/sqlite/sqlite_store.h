// SPDX-License-Identifier: Apache-2.0
//
// MetadataStore in one SQLite file: the embedded default.
//
// Threads: one connection writes, behind a mutex that a writer transaction holds for its life;
// readers take a connection each from a pool that grows to the greatest number of readers at once.
// Ownership: the store owns all connections; transactions borrow one and give it back.
// Fails: Open() when the file is unusable or of a newer schema.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tools/gateway/meta/sqlite/sqlite_db.h"
#include "tools/gateway/metadata_store.h"

namespace airstore::gateway {

class SqliteStore final : public MetadataStore {
 public:
  std::string_view kind() const override { return "sqlite"; }
  static Result<std::unique_ptr<SqliteStore>> Open(const std::string& path);

  // What tells this store from all others, for ever. It has none until this is called.
  Result<std::string> Identity();
  Result<std::unique_ptr<MetadataReader>> Read() override;
  Result<std::unique_ptr<MetadataWriter>> Write() override;

 private:
  friend class SqliteTransaction;
  explicit SqliteStore(std::string path) : path_(std::move(path)) {}
  void GiveBack(std::unique_ptr<SqliteDb> reader);

  const std::string path_;
  std::mutex writer_mu_;
  std::unique_ptr<SqliteDb> writer_;  // guarded by writer_mu_
  std::mutex readers_mu_;
  std::vector<std::unique_ptr<SqliteDb>> readers_;  // idle ones, guarded by readers_mu_
};

}  // namespace airstore::gateway
