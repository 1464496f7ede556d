// SPDX-License-Identifier: Apache-2.0
//
// Databases of other versions: older ones are brought up to date when they are opened, newer ones
// are refused and left as they are.
#include <sqlite3.h>

#include <map>

#include "tests/unit/gateway/bench.h"
#include "tools/gateway/meta/sqlite/sqlite_schema.h"
#include "tools/gateway/meta/sqlite/sqlite_store.h"

namespace airstore::gateway {
namespace {

// Version 1 as it was, with a workspace, a directory entry and an extended attribute.
constexpr char kVersion1[] = R"sql(
CREATE TABLE workspaces(
  key INTEGER PRIMARY KEY AUTOINCREMENT,
  id BLOB NOT NULL UNIQUE, name BLOB NOT NULL UNIQUE, created_ns INTEGER NOT NULL,
  next_inode INTEGER NOT NULL, used_bytes INTEGER NOT NULL, inodes INTEGER NOT NULL);
CREATE TABLE inodes(
  ws INTEGER NOT NULL, ino INTEGER NOT NULL, mode INTEGER NOT NULL, uid INTEGER NOT NULL,
  gid INTEGER NOT NULL, nlink INTEGER NOT NULL, size INTEGER NOT NULL, rdev INTEGER NOT NULL,
  atime_ns INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL,
  btime_ns INTEGER NOT NULL, version INTEGER NOT NULL, content_version INTEGER NOT NULL,
  allocated INTEGER NOT NULL, xattr_count INTEGER NOT NULL, parent INTEGER NOT NULL,
  symlink_target BLOB, PRIMARY KEY(ws, ino)) WITHOUT ROWID;
CREATE TABLE entries(
  ws INTEGER NOT NULL, parent INTEGER NOT NULL, name BLOB NOT NULL, ino INTEGER NOT NULL,
  PRIMARY KEY(ws, parent, name)) WITHOUT ROWID;
CREATE TABLE extents(
  ws INTEGER NOT NULL, ino INTEGER NOT NULL, start INTEGER NOT NULL, length INTEGER NOT NULL,
  block BLOB NOT NULL, block_offset INTEGER NOT NULL,
  PRIMARY KEY(ws, ino, start)) WITHOUT ROWID;
CREATE TABLE xattrs(
  ws INTEGER NOT NULL, ino INTEGER NOT NULL, name BLOB NOT NULL, value BLOB NOT NULL,
  PRIMARY KEY(ws, ino, name)) WITHOUT ROWID;
CREATE TABLE blocks(
  ws INTEGER NOT NULL, id BLOB NOT NULL, size INTEGER NOT NULL, xxh3 INTEGER NOT NULL,
  live_bytes INTEGER NOT NULL, touched_ns INTEGER NOT NULL, deleting INTEGER NOT NULL,
  PRIMARY KEY(ws, id)) WITHOUT ROWID;
CREATE INDEX garbage ON blocks(touched_ns) WHERE live_bytes = 0;
CREATE TABLE sessions(
  id BLOB NOT NULL PRIMARY KEY, ws INTEGER NOT NULL, principal BLOB NOT NULL, client BLOB NOT NULL,
  last_sequence INTEGER NOT NULL, seen_ns INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE outcomes(
  session BLOB NOT NULL, last INTEGER NOT NULL, first INTEGER NOT NULL, data BLOB NOT NULL,
  PRIMARY KEY(session, last)) WITHOUT ROWID;
CREATE TABLE orphans(
  ws INTEGER NOT NULL, ino INTEGER NOT NULL, session BLOB NOT NULL,
  PRIMARY KEY(ws, ino)) WITHOUT ROWID;
CREATE INDEX orphans_of_session ON orphans(session);
CREATE TABLE leases(
  id INTEGER PRIMARY KEY, ws INTEGER NOT NULL, ino INTEGER NOT NULL, session BLOB NOT NULL);
CREATE TABLE tokens(
  id BLOB NOT NULL PRIMARY KEY, hash BLOB NOT NULL UNIQUE, ws INTEGER NOT NULL,
  principal BLOB NOT NULL, read_only INTEGER NOT NULL, created_ns INTEGER NOT NULL,
  revoked_ns INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO workspaces
  VALUES(1, CAST('w-1' AS BLOB), CAST('work' AS BLOB), 5, 66, 1000, 2);
INSERT INTO inodes VALUES(1, 1, 16877, 0, 0, 2, 0, 0, 1, 2, 3, 4, 1, 1, 0, 0, 1, NULL);
INSERT INTO inodes VALUES(1, 2, 33188, 7, 8, 1, 1000, 0, 1, 2, 3, 4, 9, 6, 1000, 1, 1, NULL);
INSERT INTO entries VALUES(1, 1, CAST('file' AS BLOB), 2);
INSERT INTO xattrs VALUES(1, 2, CAST('user.a' AS BLOB), CAST('value' AS BLOB));
PRAGMA user_version=1;
)sql";

class Raw {
 public:
  explicit Raw(const std::string& path) { EXPECT_EQ(sqlite3_open(path.c_str(), &db_), SQLITE_OK); }
  ~Raw() { sqlite3_close(db_); }
  Raw(const Raw&) = delete;
  Raw& operator=(const Raw&) = delete;

  void Execute(const std::string& sql) {
    EXPECT_EQ(sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
        << sqlite3_errmsg(db_);
  }
  std::vector<std::string> Rows(const std::string& sql) {
    std::vector<std::string> rows;
    const auto add = [](void* to, int columns, char** values, char**) {
      std::string row;
      for (int i = 0; i < columns; ++i) row += std::string(values[i] ? values[i] : "NULL") + "|";
      static_cast<std::vector<std::string>*>(to)->push_back(row);
      return 0;
    };
    EXPECT_EQ(sqlite3_exec(db_, sql.c_str(), add, &rows, nullptr), SQLITE_OK)
        << sqlite3_errmsg(db_);
    return rows;
  }

 private:
  sqlite3* db_ = nullptr;
};

// Tables, their columns and indexes.
std::map<std::string, std::vector<std::string>> ShapeOf(const std::string& path) {
  Raw raw(path);
  std::map<std::string, std::vector<std::string>> shape;
  for (std::string name :
       raw.Rows("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite%'")) {
    name.pop_back();
    shape[name] = raw.Rows("PRAGMA table_info(" + name + ")");
  }
  return shape;
}

TEST(Schema, VersionOneIsBroughtUpToDate) {
  const TempDirectory directory;
  const std::string path = directory.path() + "/old.db";
  Raw(path).Execute(kVersion1);
  for (int round = 0; round < 2; ++round) {
    auto store = SqliteStore::Open(path);
    ASSERT_TRUE(store) << store.error().ToString();
    auto reader = (*store)->Read();
    ASSERT_TRUE(reader);
    const auto workspace = (*reader)->FindWorkspace("work");
    ASSERT_TRUE(workspace);
    EXPECT_EQ(workspace->next_inode, 66u);
    EXPECT_EQ(workspace->used_bytes, 1000u);
    EXPECT_EQ(workspace->quota_bytes, round == 0 ? 0u : 5000u);
    EXPECT_EQ(workspace->quota_inodes, round == 0 ? 0u : 50u);
    ASSERT_EQ((*reader)->GetEntry(workspace->key, kRootInode, "file"), InodeNo{2});
    EXPECT_EQ((*reader)->GetInode(workspace->key, 2)->content_version, 6u);
    EXPECT_EQ((*reader)->GetXattr(workspace->key, 2, "user.a"), "value");
    auto writer = (*store)->Write();
    ASSERT_TRUE(writer);
    (*writer)->SetQuota(workspace->key, 5000, 50);
    ASSERT_TRUE((*writer)->Commit());
  }
  EXPECT_EQ(Raw(path).Rows("PRAGMA user_version"),
            std::vector<std::string>{std::to_string(kSqliteSchemaVersion) + "|"});
  const std::string fresh = directory.path() + "/fresh.db";
  ASSERT_TRUE(SqliteStore::Open(fresh));
  EXPECT_EQ(ShapeOf(path), ShapeOf(fresh));
}

TEST(Schema, ANewerVersionIsRefusedAndLeftAlone) {
  const TempDirectory directory;
  const std::string path = directory.path() + "/new.db";
  ASSERT_TRUE(SqliteStore::Open(path));
  const std::string newer = std::to_string(kSqliteSchemaVersion + 1);
  Raw(path).Execute("PRAGMA user_version=" + newer);
  const auto shape = ShapeOf(path);
  const auto store = SqliteStore::Open(path);
  ASSERT_FALSE(store);
  EXPECT_NE(store.error().message.find("has schema " + newer), std::string::npos)
      << store.error().message;
  EXPECT_EQ(Raw(path).Rows("PRAGMA user_version"), std::vector<std::string>{newer + "|"});
  EXPECT_EQ(ShapeOf(path), shape);
}

}  // namespace
}  // namespace airstore::gateway
