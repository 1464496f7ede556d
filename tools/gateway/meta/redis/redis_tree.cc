// SPDX-License-Identifier: Apache-2.0
//
// RedisTransaction: rows of the tree (inodes, entries, extents, extended attributes, blocks).
#include <algorithm>
#include <charconv>
#include <set>

#include "tools/gateway/meta/redis/redis_row.h"
#include "tools/gateway/meta/redis/redis_transaction.h"

namespace airstore::gateway {
namespace {

std::string RowOf(const Inode& i) {
  return RowWriter()
      .Number(i.mode)
      .Number(i.uid)
      .Number(i.gid)
      .Number(i.nlink)
      .Number(i.size)
      .Number(i.rdev)
      .Signed(i.atime_ns)
      .Signed(i.mtime_ns)
      .Signed(i.ctime_ns)
      .Signed(i.btime_ns)
      .Number(i.version)
      .Number(i.content_version)
      .Number(i.allocated)
      .Number(i.xattr_count)
      .Number(i.parent)
      .Text(i.symlink_target)
      .Take();
}

std::string RowOf(const BlockRecord& b) {
  return RowWriter()
      .Number(b.size)
      .Number(b.xxh3)
      .Number(b.live_bytes)
      .Signed(b.touched_ns)
      .Number(b.deleting ? 1 : 0)
      .Take();
}

std::string NameField(std::string_view name) { return std::string(name) + '\0'; }

}  // namespace

Extent ExtentFromRow(std::string_view field, std::string_view value) {
  Extent extent;
  extent.offset = FromBigEndian(field);
  if (value.size() != 32) return extent;  // of no length: damage
  extent.length = FromBigEndian(value);
  extent.block = BlockId::From(value.substr(8, 16));
  extent.block_offset = FromBigEndian(value.substr(24));
  return extent;
}

std::optional<Inode> RedisTransaction::InodeFrom(InodeNo ino, std::string_view row) {
  RowReader r(row);
  Inode i;
  i.ino = ino;
  i.mode = r.Number32();
  i.uid = r.Number32();
  i.gid = r.Number32();
  i.nlink = r.Number32();
  i.size = r.Number();
  i.rdev = r.Number();
  i.atime_ns = r.Signed();
  i.mtime_ns = r.Signed();
  i.ctime_ns = r.Signed();
  i.btime_ns = r.Signed();
  i.version = r.Number();
  i.content_version = r.Number();
  i.allocated = r.Number();
  i.xattr_count = r.Number32();
  i.parent = r.Number();
  i.symlink_target = r.Text();
  if (r.ok()) return i;
  view_.FailDamaged("inode " + std::to_string(ino));
  return std::nullopt;
}

void RedisTransaction::Expect(WorkspaceKey ws, const ExpectedRows& rows) {
  std::set<std::string> guards, keys;
  std::vector<std::pair<RedisMap, std::string>> members;
  std::set<std::pair<InodeNo, std::string_view>> names(rows.names.begin(), rows.names.end());
  for (const auto& [parent, name] : names) {
    guards.insert(keys_.InodeGuard(ws, parent));
    members.emplace_back(keys_.Entries(ws, parent), NameField(name));
  }
  for (const InodeNo ino : rows.inodes) {
    guards.insert(keys_.InodeGuard(ws, ino));
    keys.insert(keys_.InodeRow(ws, ino));
  }
  for (const BlockId& id : rows.blocks) {
    guards.insert(keys_.BlockGuard(ws, id));
    keys.insert(keys_.BlockRow(ws, id));
  }
  view_.Expect({guards.begin(), guards.end()}, members, {keys.begin(), keys.end()});
}

std::optional<Inode> RedisTransaction::GetInode(WorkspaceKey ws, InodeNo ino) {
  const auto row = view_.Get(keys_.InodeGuard(ws, ino), keys_.InodeRow(ws, ino));
  if (!row) return std::nullopt;
  return InodeFrom(ino, *row);
}

void RedisTransaction::PutInode(WorkspaceKey ws, const Inode& inode) {
  view_.Put(keys_.InodeGuard(ws, inode.ino), keys_.InodeRow(ws, inode.ino), RowOf(inode));
}

void RedisTransaction::DeleteInode(WorkspaceKey ws, InodeNo ino) {
  view_.Erase(keys_.InodeGuard(ws, ino), keys_.InodeRow(ws, ino));
}

std::optional<InodeNo> RedisTransaction::GetEntry(WorkspaceKey ws, InodeNo parent,
                                                  std::string_view name) {
  const auto found =
      view_.Find(keys_.InodeGuard(ws, parent), keys_.Entries(ws, parent), NameField(name));
  if (!found) return std::nullopt;
  return FromBigEndian(*found);
}

std::vector<Entry> RedisTransaction::ListEntries(WorkspaceKey ws, InodeNo parent,
                                                 std::string_view after, size_t limit) {
  // Behind "after" and its NUL, and before all names that begin with it.
  const std::string from = after.empty() ? "" : std::string(after) + '\1';
  const auto found =
      view_.List(keys_.InodeGuard(ws, parent), keys_.Entries(ws, parent), {from, ""}, limit);
  std::vector<std::string> guards, rows;
  for (const auto& [name, value] : found) {
    const InodeNo ino = FromBigEndian(value);
    guards.push_back(keys_.InodeGuard(ws, ino));
    rows.push_back(keys_.InodeRow(ws, ino));
  }
  const auto inodes = view_.GetAll(guards, rows);
  std::vector<Entry> entries;
  for (size_t i = 0; i < inodes.size(); ++i) {
    if (!inodes[i]) continue;
    auto inode = InodeFrom(FromBigEndian(found[i].second), *inodes[i]);
    if (!inode) return {};
    std::string name = found[i].first;
    name.pop_back();
    entries.push_back({std::move(name), std::move(*inode)});
  }
  return entries;
}

bool RedisTransaction::HasEntries(WorkspaceKey ws, InodeNo parent) {
  return !view_.List(keys_.InodeGuard(ws, parent), keys_.Entries(ws, parent), {}, 1).empty();
}

std::vector<Name> RedisTransaction::ListNames(WorkspaceKey ws, InodeNo parent,
                                              std::string_view after, size_t limit) {
  const std::string from = after.empty() ? "" : std::string(after) + '\1';
  std::vector<Name> names;
  for (auto& [name, value] :
       view_.List(keys_.InodeGuard(ws, parent), keys_.Entries(ws, parent), {from, ""}, limit)) {
    names.push_back({std::move(name), FromBigEndian(value)});
    names.back().name.pop_back();
  }
  return names;
}

std::vector<std::string> RedisTransaction::KeysBehind(const std::string& prefix) {
  std::vector<std::string> found;
  const auto done = store_.Scan(prefix, [&](const std::vector<std::string>& keys) -> Result<void> {
    for (const std::string& key : keys) {
      if (key.starts_with(prefix)) found.push_back(key.substr(prefix.size()));
    }
    return {};
  });
  if (!done) {
    view_.Fail(done.error());
    return {};
  }
  // A table that grows meanwhile may show a key twice.
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

std::vector<InodeNo> RedisTransaction::ListAllInodes(WorkspaceKey ws) {
  std::vector<InodeNo> inodes;
  for (const std::string& number : KeysBehind(keys_.Of(ws, "i:"))) {
    InodeNo ino = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), ino);
    if (error == std::errc() && end == number.data() + number.size()) inodes.push_back(ino);
  }
  return inodes;
}

std::vector<BlockId> RedisTransaction::ListAllBlocks(WorkspaceKey ws) {
  std::vector<BlockId> blocks;
  for (const std::string& id : KeysBehind(keys_.Of(ws, "b:"))) {
    if (id.size() == sizeof(BlockId)) blocks.push_back(BlockId::From(id));
  }
  return blocks;
}

void RedisTransaction::PutEntry(WorkspaceKey ws, InodeNo parent, std::string_view name,
                                InodeNo ino) {
  view_.Put(keys_.InodeGuard(ws, parent), keys_.Entries(ws, parent), NameField(name),
            BigEndian(ino));
}

void RedisTransaction::DeleteEntry(WorkspaceKey ws, InodeNo parent, std::string_view name) {
  view_.Erase(keys_.InodeGuard(ws, parent), keys_.Entries(ws, parent), NameField(name));
}

std::vector<Extent> RedisTransaction::ListExtents(WorkspaceKey ws, InodeNo ino, uint64_t start,
                                                  uint64_t end) {
  const std::string guard = keys_.InodeGuard(ws, ino);
  const RedisMap map = keys_.Extents(ws, ino);
  std::vector<Extent> extents;
  // Extents do not overlap: besides those that start inside, only the last one before can reach in.
  if (start > 0) {
    if (const auto before = view_.LastBefore(guard, map, BigEndian(start))) {
      const Extent extent = ExtentFromRow(before->first, before->second);
      if (extent.end() > start) extents.push_back(extent);
    }
  }
  for (const auto& [field, value] : view_.List(guard, map, {BigEndian(start), BigEndian(end)}, 0)) {
    const Extent extent = ExtentFromRow(field, value);
    if (extent.end() > start) extents.push_back(extent);
  }
  return extents;
}

void RedisTransaction::PutExtent(WorkspaceKey ws, InodeNo ino, const Extent& e) {
  view_.Put(keys_.InodeGuard(ws, ino), keys_.Extents(ws, ino), BigEndian(e.offset),
            BigEndian(e.length) + std::string(e.block.view()) + BigEndian(e.block_offset));
}

void RedisTransaction::DeleteExtent(WorkspaceKey ws, InodeNo ino, uint64_t offset) {
  view_.Erase(keys_.InodeGuard(ws, ino), keys_.Extents(ws, ino), BigEndian(offset));
}

std::optional<std::string> RedisTransaction::GetXattr(WorkspaceKey ws, InodeNo ino,
                                                      std::string_view name) {
  return view_.Find(keys_.InodeGuard(ws, ino), keys_.Xattrs(ws, ino), NameField(name));
}

std::vector<std::string> RedisTransaction::ListXattrs(WorkspaceKey ws, InodeNo ino) {
  std::vector<std::string> names;
  for (auto& [field, value] : view_.List(keys_.InodeGuard(ws, ino), keys_.Xattrs(ws, ino), {}, 0)) {
    names.push_back(std::move(field));
    names.back().pop_back();
  }
  return names;
}

void RedisTransaction::PutXattr(WorkspaceKey ws, InodeNo ino, std::string_view name,
                                std::string_view value) {
  view_.Put(keys_.InodeGuard(ws, ino), keys_.Xattrs(ws, ino), NameField(name), std::string(value));
}

void RedisTransaction::DeleteXattr(WorkspaceKey ws, InodeNo ino, std::string_view name) {
  view_.Erase(keys_.InodeGuard(ws, ino), keys_.Xattrs(ws, ino), NameField(name));
}

std::optional<BlockRecord> RedisTransaction::GetBlock(WorkspaceKey ws, const BlockId& id) {
  const auto row = view_.Get(keys_.BlockGuard(ws, id), keys_.BlockRow(ws, id));
  if (!row) return std::nullopt;
  return BlockFrom(id, *row);
}

std::optional<BlockRecord> RedisTransaction::BlockFrom(const BlockId& id, std::string_view row) {
  RowReader r(row);
  BlockRecord block{id, r.Number(), r.Number(), r.Number(), r.Signed(), r.Number() != 0};
  if (r.ok()) return block;
  view_.FailDamaged("block");
  return std::nullopt;
}

void RedisTransaction::PutGarbage(WorkspaceKey ws, const BlockRecord& block) {
  const std::string id(block.id.view());
  if (block.live_bytes == 0) {
    const int64_t touched_us = block.touched_ns / 1000;  // exact as a score, which is a double
    view_.Do("", {"ZADD", keys_.Garbage(ws), std::to_string(touched_us), id});
  } else {
    view_.Do("", {"ZREM", keys_.Garbage(ws), id});
  }
}

void RedisTransaction::PutBlock(WorkspaceKey ws, const BlockRecord& block) {
  view_.Put(keys_.BlockGuard(ws, block.id), keys_.BlockRow(ws, block.id), RowOf(block));
  PutGarbage(ws, block);
}

void RedisTransaction::DeleteBlock(WorkspaceKey ws, const BlockId& id) {
  view_.Erase(keys_.BlockGuard(ws, id), keys_.BlockRow(ws, id));
  view_.Do("", {"ZREM", keys_.Garbage(ws), std::string(id.view())});
}

std::vector<BlockKey> RedisTransaction::ListGarbage(int64_t before_ns, size_t limit) {
  std::vector<WorkspaceKey> all = WorkspaceKeys();
  const std::vector<WorkspaceKey> dying = SweepDying();
  all.insert(all.end(), dying.begin(), dying.end());
  std::vector<RedisCommand> commands;
  // Scores are whole microseconds; what was touched in that of `before_ns` is for the next time.
  const std::string most = "(" + std::to_string(before_ns / 1000);
  for (const WorkspaceKey ws : all) {
    commands.push_back(
        {"ZRANGEBYSCORE", keys_.Garbage(ws), "-inf", most, "LIMIT", "0", std::to_string(limit)});
  }
  if (commands.empty()) return {};
  std::vector<BlockKey> keys;
  const auto replies = view_.Ask("", std::move(commands));
  for (size_t i = 0; i < replies.size(); ++i) {
    for (const RedisReply& item : replies[i].items) {
      if (item.text.size() == 16) keys.push_back({all[i], BlockId::From(item.text)});
    }
  }
  if (keys.size() > limit) keys.resize(limit);
  return keys;
}

}  // namespace airstore::gateway
