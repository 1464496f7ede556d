// SPDX-License-Identifier: Apache-2.0
//
// SqliteTransaction: rows of the tree (inodes, entries, extents, extended attributes, blocks).
#include <sys/stat.h>

#include "tools/gateway/meta/sqlite/sqlite_transaction.h"

namespace airstore::gateway {
namespace {

#define AIRSTORE_INODE_COLUMNS                                                         \
  "i.ino, i.mode, i.uid, i.gid, i.nlink, i.size, i.rdev, i.atime_ns, i.mtime_ns, "     \
  "i.ctime_ns, i.btime_ns, i.version, i.content_version, i.allocated, i.xattr_count, " \
  "i.parent, i.symlink_target "

Inode InodeFrom(const Query& q) {
  Inode inode;
  inode.ino = q.Uint(0);
  inode.mode = q.Uint32(1);
  inode.uid = q.Uint32(2);
  inode.gid = q.Uint32(3);
  inode.nlink = q.Uint32(4);
  inode.size = q.Uint(5);
  inode.rdev = q.Uint(6);
  inode.atime_ns = q.Int(7);
  inode.mtime_ns = q.Int(8);
  inode.ctime_ns = q.Int(9);
  inode.btime_ns = q.Int(10);
  inode.version = q.Uint(11);
  inode.content_version = q.Uint(12);
  inode.allocated = q.Uint(13);
  inode.xattr_count = q.Uint32(14);
  inode.parent = q.Uint(15);
  inode.symlink_target = q.String(16);
  return inode;
}

}  // namespace

std::optional<Inode> SqliteTransaction::GetInode(WorkspaceKey ws, InodeNo ino) {
  Query q(db_, "SELECT " AIRSTORE_INODE_COLUMNS "FROM inodes i WHERE ws=?1 AND ino=?2", ws, ino);
  if (!q.Step()) return std::nullopt;
  return InodeFrom(q);
}

void SqliteTransaction::PutInode(WorkspaceKey ws, const Inode& i) {
  Query(db_,
        "INSERT OR REPLACE INTO inodes VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,"
        "?16,?17,?18)",
        ws, i.ino, i.mode, i.uid, i.gid, i.nlink, i.size, i.rdev, i.atime_ns, i.mtime_ns,
        i.ctime_ns, i.btime_ns, i.version, i.content_version, i.allocated, i.xattr_count, i.parent,
        i.symlink_target)
      .Run();
}

void SqliteTransaction::DeleteInode(WorkspaceKey ws, InodeNo ino) {
  Query(db_, "DELETE FROM inodes WHERE ws=?1 AND ino=?2", ws, ino).Run();
}

std::optional<InodeNo> SqliteTransaction::GetEntry(WorkspaceKey ws, InodeNo parent,
                                                   std::string_view name) {
  Query q(db_, "SELECT ino FROM entries WHERE ws=?1 AND parent=?2 AND name=?3", ws, parent, name);
  if (!q.Step()) return std::nullopt;
  return q.Uint(0);
}

std::vector<Entry> SqliteTransaction::ListEntries(WorkspaceKey ws, InodeNo parent,
                                                  std::string_view after, size_t limit) {
  std::vector<Entry> entries;
  // CROSS JOIN pins the order: entries first (one range), then each inode by its key.
  Query q(db_,
          "SELECT " AIRSTORE_INODE_COLUMNS
          ", e.name FROM entries e CROSS JOIN inodes i ON i.ws=e.ws AND i.ino=e.ino "
          "WHERE e.ws=?1 AND e.parent=?2 AND e.name>?3 ORDER BY e.name LIMIT ?4",
          ws, parent, after, static_cast<int64_t>(limit));
  while (q.Step()) entries.push_back({q.String(17), InodeFrom(q)});
  return entries;
}

bool SqliteTransaction::HasEntries(WorkspaceKey ws, InodeNo parent) {
  Query q(db_, "SELECT 1 FROM entries WHERE ws=?1 AND parent=?2 LIMIT 1", ws, parent);
  return q.Step();
}

std::vector<Name> SqliteTransaction::ListNames(WorkspaceKey ws, InodeNo parent,
                                               std::string_view after, size_t limit) {
  std::vector<Name> names;
  Query q(db_,
          "SELECT name, ino FROM entries WHERE ws=?1 AND parent=?2 AND name>?3 ORDER BY name "
          "LIMIT ?4",
          ws, parent, after, static_cast<int64_t>(limit));
  while (q.Step()) names.push_back({q.String(0), q.Uint(1)});
  return names;
}

std::vector<InodeNo> SqliteTransaction::ListAllInodes(WorkspaceKey ws) {
  std::vector<InodeNo> inodes;
  Query q(db_, "SELECT ino FROM inodes WHERE ws=?1", ws);
  while (q.Step()) inodes.push_back(q.Uint(0));
  return inodes;
}

std::vector<BlockId> SqliteTransaction::ListAllBlocks(WorkspaceKey ws) {
  std::vector<BlockId> blocks;
  Query q(db_, "SELECT id FROM blocks WHERE ws=?1", ws);
  while (q.Step()) blocks.push_back(q.Id16<BlockId>(0));
  return blocks;
}

void SqliteTransaction::PutEntry(WorkspaceKey ws, InodeNo parent, std::string_view name,
                                 InodeNo ino) {
  Query(db_, "INSERT OR REPLACE INTO entries VALUES(?1,?2,?3,?4)", ws, parent, name, ino).Run();
}

void SqliteTransaction::DeleteEntry(WorkspaceKey ws, InodeNo parent, std::string_view name) {
  Query(db_, "DELETE FROM entries WHERE ws=?1 AND parent=?2 AND name=?3", ws, parent, name).Run();
}

std::vector<Extent> SqliteTransaction::ListExtents(WorkspaceKey ws, InodeNo ino, uint64_t start,
                                                   uint64_t end) {
  std::vector<Extent> extents;
  // Extents do not overlap: besides those that start inside, only the last one before can reach in.
  Query q(db_,
          "SELECT start, length, block, block_offset FROM extents WHERE ws=?1 AND ino=?2 AND "
          "start < ?4 AND start >= coalesce((SELECT max(start) FROM extents WHERE ws=?1 AND "
          "ino=?2 AND start<=?3), ?3) ORDER BY start",
          ws, ino, start, end);
  while (q.Step()) {
    Extent extent{q.Uint(0), q.Uint(1), q.Id16<BlockId>(2), q.Uint(3)};
    if (extent.end() > start) extents.push_back(extent);
  }
  return extents;
}

void SqliteTransaction::PutExtent(WorkspaceKey ws, InodeNo ino, const Extent& e) {
  Query(db_, "INSERT OR REPLACE INTO extents VALUES(?1,?2,?3,?4,?5,?6)", ws, ino, e.offset,
        e.length, e.block, e.block_offset)
      .Run();
}

void SqliteTransaction::DeleteExtent(WorkspaceKey ws, InodeNo ino, uint64_t offset) {
  Query(db_, "DELETE FROM extents WHERE ws=?1 AND ino=?2 AND start=?3", ws, ino, offset).Run();
}

std::optional<std::string> SqliteTransaction::GetXattr(WorkspaceKey ws, InodeNo ino,
                                                       std::string_view name) {
  Query q(db_, "SELECT value FROM xattrs WHERE ws=?1 AND ino=?2 AND name=?3", ws, ino, name);
  if (!q.Step()) return std::nullopt;
  return q.String(0);
}

std::vector<std::string> SqliteTransaction::ListXattrs(WorkspaceKey ws, InodeNo ino) {
  std::vector<std::string> names;
  Query q(db_, "SELECT name FROM xattrs WHERE ws=?1 AND ino=?2 ORDER BY name", ws, ino);
  while (q.Step()) names.push_back(q.String(0));
  return names;
}

void SqliteTransaction::PutXattr(WorkspaceKey ws, InodeNo ino, std::string_view name,
                                 std::string_view value) {
  Query(db_, "INSERT OR REPLACE INTO xattrs VALUES(?1,?2,?3,?4)", ws, ino, name, value).Run();
}

void SqliteTransaction::DeleteXattr(WorkspaceKey ws, InodeNo ino, std::string_view name) {
  Query(db_, "DELETE FROM xattrs WHERE ws=?1 AND ino=?2 AND name=?3", ws, ino, name).Run();
}

std::optional<BlockRecord> SqliteTransaction::GetBlock(WorkspaceKey ws, const BlockId& id) {
  Query q(db_,
          "SELECT size, xxh3, live_bytes, touched_ns, deleting FROM blocks WHERE ws=?1 AND id=?2",
          ws, id);
  if (!q.Step()) return std::nullopt;
  return BlockRecord{id, q.Uint(0), q.Uint(1), q.Uint(2), q.Int(3), q.Int(4) != 0};
}

void SqliteTransaction::PutBlock(WorkspaceKey ws, const BlockRecord& b) {
  Query(db_, "INSERT OR REPLACE INTO blocks VALUES(?1,?2,?3,?4,?5,?6,?7)", ws, b.id, b.size, b.xxh3,
        b.live_bytes, b.touched_ns, b.deleting)
      .Run();
}

void SqliteTransaction::DeleteBlock(WorkspaceKey ws, const BlockId& id) {
  Query(db_, "DELETE FROM blocks WHERE ws=?1 AND id=?2", ws, id).Run();
}

std::vector<BlockKey> SqliteTransaction::ListGarbage(int64_t before_ns, size_t limit) {
  std::vector<BlockKey> keys;
  Query q(db_,
          "SELECT ws, id FROM blocks WHERE live_bytes=0 AND touched_ns<?1 ORDER BY touched_ns "
          "LIMIT ?2",
          before_ns, static_cast<int64_t>(limit));
  while (q.Step()) keys.push_back({q.Int(0), q.Id16<BlockId>(1)});
  return keys;
}

}  // namespace airstore::gateway
