// SPDX-License-Identifier: Apache-2.0
//
// RedisTransaction: what a check reads while others write. Guards are shared by many rows, so in a
// store that is written to all the time one of them always moves; here the server reads what
// belongs together at once (MULTI), and none is needed.
#include <sys/stat.h>

#include <algorithm>

#include "tools/gateway/meta/redis/redis_row.h"
#include "tools/gateway/meta/redis/redis_transaction.h"

namespace airstore::gateway {
namespace {

constexpr size_t kAtOnce = 32;  // inodes of a round trip
constexpr size_t kRows = 5;     // of an inode, as ReadWhole() asks for them

std::string TextOf(const RedisReply& reply) { return reply.is_nil() ? "-" : "+" + reply.text; }

}  // namespace

std::optional<WholeInode> RedisTransaction::WholeFrom(InodeNo ino,
                                                      const std::vector<RedisReply>& rows) {
  if (rows.size() != kRows ||
      std::any_of(rows.begin(), rows.end(), [](const auto& row) { return row.is_error(); })) {
    view_.FailDamaged("inode " + std::to_string(ino));
    return std::nullopt;
  }
  if (rows[0].is_nil()) return std::nullopt;
  auto inode = InodeFrom(ino, rows[0].text);
  if (!inode) return std::nullopt;
  WholeInode whole;
  whole.inode = std::move(*inode);
  if (S_ISDIR(whole.inode.mode)) {
    for (const RedisReply& name : rows[1].items) {
      whole.children.push_back(FromBigEndian(name.text.substr(name.text.find('\0') + 1)));
    }
  }
  if (S_ISREG(whole.inode.mode)) {
    for (const RedisReply& extent : rows[2].items) {
      const std::string field = extent.text.substr(0, 8);
      whole.extents.push_back(ExtentFromRow(field, extent.text.substr(field.size())));
    }
  }
  whole.xattrs = static_cast<uint32_t>(rows[3].integer);
  whole.orphan = whole.inode.nlink == 0 && !rows[4].items.empty();
  return whole;
}

std::vector<std::optional<WholeInode>> RedisTransaction::ReadWhole(
    WorkspaceKey ws, std::span<const InodeNo> inodes) {
  // An EXEC would end the watch over what a writer has read.
  if (writer_lock_.owns_lock()) return MetadataReader::ReadWhole(ws, inodes);
  std::vector<std::optional<WholeInode>> read;
  read.reserve(inodes.size());
  for (size_t at = 0; at < inodes.size(); at += kAtOnce) {
    const auto some = inodes.subspan(at, std::min(kAtOnce, inodes.size() - at));
    std::vector<RedisCommand> commands;
    for (const InodeNo ino : some) {
      const std::string number = BigEndian(ino);
      commands.insert(commands.end(), {{"MULTI"},
                                       {"GET", keys_.InodeRow(ws, ino)},
                                       {"ZRANGEBYLEX", keys_.Entries(ws, ino).key, "-", "+"},
                                       {"ZRANGEBYLEX", keys_.Extents(ws, ino).key, "-", "+"},
                                       {"ZCARD", keys_.Xattrs(ws, ino).key},
                                       {"ZRANGEBYLEX", keys_.Orphans(ws).key, "[" + number,
                                        "(" + RedisView::Behind(number)},
                                       {"EXEC"}});
    }
    const size_t each = commands.size() / some.size();
    const auto replies = view_.AskAtOnce(keys_.InodeRow(ws, some.front()), commands);
    if (replies.size() != each * some.size()) return {};
    for (size_t i = 0; i < some.size(); ++i) {
      read.push_back(WholeFrom(some[i], replies[each * (i + 1) - 1].items));
    }
  }
  return read;
}

std::vector<std::optional<BlockRecord>> RedisTransaction::ReadBlocks(WorkspaceKey ws,
                                                                     std::span<const BlockId> ids) {
  if (writer_lock_.owns_lock()) return MetadataReader::ReadBlocks(ws, ids);
  std::vector<std::optional<BlockRecord>> read(ids.size());
  if (ids.empty()) return read;
  RedisCommand get = {"MGET"};
  for (const BlockId& id : ids) get.push_back(keys_.BlockRow(ws, id));
  const auto replies = view_.Ask("", {std::move(get)});
  if (replies.size() != 1 || replies.front().items.size() != ids.size()) return {};
  for (size_t i = 0; i < ids.size(); ++i) {
    const RedisReply& row = replies.front().items[i];
    if (!row.is_nil()) read[i] = BlockFrom(ids[i], row.text);
  }
  return read;
}

std::vector<std::string> RedisTransaction::Stamps(WorkspaceKey ws, std::span<const InodeNo> inodes,
                                                  std::span<const BlockId> blocks) {
  std::vector<std::string> stamps;
  if (inodes.empty() && blocks.empty()) return stamps;
  RedisCommand get = {"MGET"};
  // An inode's row has a version. A block's may be the same again: then its guard is not.
  for (const InodeNo ino : inodes) get.push_back(keys_.InodeRow(ws, ino));
  for (const BlockId& id : blocks) get.push_back(keys_.BlockRow(ws, id));
  for (const BlockId& id : blocks) get.push_back(keys_.BlockGuard(ws, id));
  const auto replies = view_.Ask("", {std::move(get)});
  if (replies.size() != 1 || replies.front().items.size() != inodes.size() + 2 * blocks.size()) {
    return {};
  }
  const auto& found = replies.front().items;
  for (size_t i = 0; i < inodes.size() + blocks.size(); ++i) stamps.push_back(TextOf(found[i]));
  for (size_t i = inodes.size(); i < stamps.size(); ++i) {
    stamps[i] += TextOf(found[i + blocks.size()]);
  }
  return stamps;
}

}  // namespace airstore::gateway
