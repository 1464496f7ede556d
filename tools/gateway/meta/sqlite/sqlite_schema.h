// SPDX-License-Identifier: Apache-2.0
//
// The SQLite engine's tables. PRAGMA user_version carries kSqliteSchemaVersion: a change of any
// table needs a new version and a migration from the old one.
//
// Names and ids are BLOBs, compared as bytes. Tables with compound keys are WITHOUT ROWID: one
// b-tree each, clustered by workspace and inode, so that a listing reads neighbouring pages.
#pragma once

namespace airstore::gateway {

inline constexpr int kSqliteSchemaVersion = 4;

inline constexpr const char* kSqliteSchema = R"sql(
CREATE TABLE workspaces(
  key INTEGER PRIMARY KEY AUTOINCREMENT,
  id BLOB NOT NULL UNIQUE, name BLOB NOT NULL UNIQUE, created_ns INTEGER NOT NULL,
  next_inode INTEGER NOT NULL, used_bytes INTEGER NOT NULL, inodes INTEGER NOT NULL,
  quota_bytes INTEGER NOT NULL DEFAULT 0, quota_inodes INTEGER NOT NULL DEFAULT 0);
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
CREATE TABLE interests(
  ws INTEGER NOT NULL, session BLOB NOT NULL, zone INTEGER NOT NULL,
  PRIMARY KEY(ws, session, zone)) WITHOUT ROWID;
CREATE TABLE tokens(
  id BLOB NOT NULL PRIMARY KEY, hash BLOB NOT NULL UNIQUE, ws INTEGER NOT NULL,
  principal BLOB NOT NULL, read_only INTEGER NOT NULL, created_ns INTEGER NOT NULL,
  revoked_ns INTEGER NOT NULL, name BLOB NOT NULL DEFAULT '', member BLOB NOT NULL DEFAULT '',
  expires_ns INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE members(
  id BLOB NOT NULL PRIMARY KEY, ws INTEGER NOT NULL, email BLOB NOT NULL, name BLOB NOT NULL,
  role BLOB NOT NULL, created_ns INTEGER NOT NULL) WITHOUT ROWID;
)sql";

// From version N to N + 1, at index N - 1.
inline constexpr const char* kSqliteMigrations[kSqliteSchemaVersion - 1] = {
    R"sql(
ALTER TABLE workspaces ADD COLUMN quota_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE workspaces ADD COLUMN quota_inodes INTEGER NOT NULL DEFAULT 0;
)sql",
    R"sql(
ALTER TABLE tokens ADD COLUMN name BLOB NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN member BLOB NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN expires_ns INTEGER NOT NULL DEFAULT 0;
CREATE TABLE members(
  id BLOB NOT NULL PRIMARY KEY, ws INTEGER NOT NULL, email BLOB NOT NULL, name BLOB NOT NULL,
  role BLOB NOT NULL, created_ns INTEGER NOT NULL) WITHOUT ROWID;
)sql",
    R"sql(
CREATE TABLE interests(
  ws INTEGER NOT NULL, session BLOB NOT NULL, zone INTEGER NOT NULL,
  PRIMARY KEY(ws, session, zone)) WITHOUT ROWID;
)sql",
};

}  // namespace airstore::gateway
