// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/copy/workspace_copy.h"

#include <algorithm>
#include <future>
#include <unordered_map>

#include "tools/gateway/blocks.h"
#include "tools/gateway/clock.h"
#include "tools/gateway/copy/inode_rows.h"
#include "tools/gateway/meta/redis/redis_transaction.h"
#include "tools/gateway/validate.h"

namespace airstore::gateway {
namespace {

constexpr size_t kInodesAtOnce = 256;
constexpr size_t kBlocksAtOnce = 8;
constexpr std::chrono::minutes kHoldAgain{5};  // much less than blocks without a reference are kept
constexpr uint64_t kCacheBytes = 64ull << 20;

using References = std::unordered_map<BlockId, uint64_t, Id16Hash>;  // bytes that refer to it

class Copy {
 public:
  Copy(Stores& from, Stores& to, const CopyProgress& progress)
      : from_(from),
        to_(to),
        progress_(progress),
        from_blocks_(*from.blocks, kCacheBytes),
        to_blocks_(*to.blocks, 0) {}

  Result<CopyTotals> Run(const std::string& name, const std::string& as) {
    AIRSTORE_TRY(FindSource(name));
    if (!as.empty() && !IsWorkspaceName(as)) return Error{EINVAL, "workspace name " + as};
    const auto before = Moment();
    if (!before) return before.error();
    AIRSTORE_TRY(FindTarget(as.empty() ? source_.name : as));
    AIRSTORE_TRY(ListInodes());
    AIRSTORE_TRY(CopyInodes());
    AIRSTORE_TRY(Compare());
    const auto behind = Moment();
    if (!behind) return behind.error();
    if (*before != *behind) return Error{EBUSY, "the workspace was changed meanwhile: copy again"};
    AIRSTORE_TRY(Finish());
    return totals_;
  }

 private:
  Result<void> FindSource(const std::string& name);
  Result<void> FindTarget(const std::string& name);
  // What changes with every change of the source, where others may make some.
  Result<std::string> Moment();
  Result<void> ListInodes();
  Result<void> CopyInodes();
  Result<std::vector<InodeRows>> ReadFrom(std::span<const InodeNo> inodes);
  Result<void> CopyBlocks(const References& references);
  Result<void> CopyBlock(const BlockRecord& block);
  // So that nobody takes them for nobody's until files refer to them, which may be long after.
  Result<void> Hold(std::span<const BlockRecord> blocks);
  Result<void> Write(const std::vector<InodeRows>& rows);
  Result<void> Compare();
  Result<void> CompareBlocks(const References& references);
  Result<void> Finish();
  static void Count(const InodeRows& rows, References* references) {
    for (const Extent& extent : rows.extents) (*references)[extent.block] += extent.length;
  }

  Stores& from_;
  Stores& to_;
  const CopyProgress& progress_;
  Blocks from_blocks_, to_blocks_;
  Workspace source_;
  WorkspaceKey target_ = 0;
  std::vector<InodeNo> inodes_;  // without the root
  CopyTotals totals_;
};

template <typename Work>
auto Reading(MetadataStore& store, const Work& work) -> decltype(work(*(*store.Read()))) {
  return UntilNoConflict([&]() -> decltype(work(*(*store.Read()))) {
    auto reader = store.Read();
    if (!reader) return reader.error();
    auto result = work(**reader);
    AIRSTORE_TRY((*reader)->status());
    return result;
  });
}

Result<void> Copy::FindSource(const std::string& name) {
  const auto found = Reading(
      *from_.metadata, [&](MetadataReader& reader) { return Result(reader.FindWorkspace(name)); });
  if (!found) return found.error();
  if (!*found) return Error{ENOENT, "there is no workspace " + name};
  source_ = **found;
  return {};
}

Result<std::string> Copy::Moment() {
  if (from_.redis == nullptr) return std::string();
  const RedisKeys& keys = from_.redis->keys();
  auto replies = from_.redis->Call({{"SCARD", keys.Live(source_.key)},
                                    {"XREVRANGE", keys.Log(source_.key), "+", "-", "COUNT", "1"},
                                    {"HMGET", keys.Usage(source_.key), "b", "i"}});
  if (!replies) return replies.error();
  if ((*replies)[0].integer != 0) {
    return Error{EBUSY, "the workspace is mounted somewhere: unmount it first"};
  }
  std::string moment;
  for (const RedisReply& entry : (*replies)[1].items) moment += entry.items[0].text + " ";
  for (const RedisReply& number : (*replies)[2].items) moment += number.text + " ";
  return moment;
}

Result<void> Copy::FindTarget(const std::string& name) {
  const auto begun = UntilNoConflict([&]() -> Result<WorkspaceKey> {
    auto writer = to_.metadata->Write();
    if (!writer) return writer.error();
    const auto by_name = (*writer)->FindWorkspace(name);
    const auto by_id = (*writer)->FindWorkspace(source_.id);
    AIRSTORE_TRY((*writer)->status());
    if (by_name && by_name->id == source_.id) {
      const bool whole = (*writer)->GetInode(by_name->key, kRootInode).has_value();
      AIRSTORE_TRY((*writer)->status());
      if (whole) return Error{EEXIST, "the target has workspace " + name + " already"};
      return by_name->key;  // what an earlier copy has left
    }
    if (by_name) return Error{EEXIST, "the target has another workspace " + name};
    if (by_id) return Error{EEXIST, "the target has it already, as " + by_id->name};
    Workspace fresh = source_;
    fresh.name = name;
    fresh.used_bytes = fresh.inodes = 0;
    const WorkspaceKey key = (*writer)->AddWorkspace(fresh);
    AIRSTORE_TRY((*writer)->Commit());
    return key;
  });
  if (!begun) return begun.error();
  target_ = *begun;
  return {};
}

Result<void> Copy::ListInodes() {
  progress_("looking", 0, 0);
  auto listed = Reading(*from_.metadata, [&](MetadataReader& reader) {
    return Result(reader.ListAllInodes(source_.key));
  });
  if (!listed) return listed.error();
  inodes_ = std::move(*listed);
  std::sort(inodes_.begin(), inodes_.end());
  std::erase(inodes_, kRootInode);
  return {};
}

Result<std::vector<InodeRows>> Copy::ReadFrom(std::span<const InodeNo> inodes) {
  return Reading(*from_.metadata, [&](MetadataReader& reader) -> Result<std::vector<InodeRows>> {
    std::vector<InodeRows> rows;
    for (const InodeNo ino : inodes) {
      if (reader.GetOrphan(source_.key, ino)) continue;
      if (auto one = ReadInodeRows(reader, source_.key, ino)) rows.push_back(std::move(*one));
    }
    return rows;
  });
}

Result<void> Copy::CopyInodes() {
  for (size_t at = 0; at < inodes_.size(); at += kInodesAtOnce) {
    progress_("copying", at, inodes_.size());
    const auto some = std::span(inodes_).subspan(at, std::min(kInodesAtOnce, inodes_.size() - at));
    auto rows = ReadFrom(some);
    if (!rows) return rows.error();
    const auto there = Reading(*to_.metadata, [&](MetadataReader& reader) {
      std::vector<bool> has;
      for (const InodeRows& one : *rows) {
        has.push_back(reader.GetInode(target_, one.inode.ino).has_value());
      }
      return Result(has);
    });
    if (!there) return there.error();
    std::vector<InodeRows> missing;
    for (size_t i = 0; i < rows->size(); ++i) {
      if ((*there)[i]) {
        ++totals_.there_already;
      } else {
        missing.push_back(std::move((*rows)[i]));
      }
    }
    if (missing.empty()) continue;
    References references;
    for (const InodeRows& one : missing) Count(one, &references);
    AIRSTORE_TRY(CopyBlocks(references));
    AIRSTORE_TRY(Write(missing));
  }
  return {};
}

Result<void> Copy::CopyBlocks(const References& references) {
  std::vector<BlockRecord> missing, held;
  for (const auto& [id, bytes] : references) {
    const auto theirs = Reading(*from_.metadata, [&, of = id](MetadataReader& reader) {
      return Result(reader.GetBlock(source_.key, of));
    });
    if (!theirs) return theirs.error();
    if (!*theirs) return Error{EIO, "the source has a file whose block is unknown: airctl fsck"};
    const auto ours = Reading(*to_.metadata, [&, of = id](MetadataReader& reader) {
      return Result(reader.GetBlock(target_, of));
    });
    if (!ours) return ours.error();
    if (!*ours) {
      missing.push_back(**theirs);
    } else if ((*ours)->live_bytes == 0) {
      held.push_back(**theirs);  // an earlier copy has left it
    }
  }
  AIRSTORE_TRY(Hold(held));
  SteadyTime held_at = SteadyNow();
  for (size_t at = 0; at < missing.size(); at += kBlocksAtOnce) {
    std::vector<std::future<Result<void>>> copying;
    for (size_t i = at; i < std::min(at + kBlocksAtOnce, missing.size()); ++i) {
      copying.push_back(
          std::async(std::launch::async, [this, &block = missing[i]] { return CopyBlock(block); }));
    }
    Result<void> failed;
    for (auto& one : copying) {
      if (auto done = one.get(); !done) failed = done;
    }
    AIRSTORE_TRY(failed);
    const size_t end = std::min(at + kBlocksAtOnce, missing.size());
    AIRSTORE_TRY(Hold(std::span(missing).subspan(at, end - at)));
    held.insert(held.end(), missing.begin() + static_cast<ptrdiff_t>(at),
                missing.begin() + static_cast<ptrdiff_t>(end));
    if (SteadyNow() - held_at > kHoldAgain) {
      AIRSTORE_TRY(Hold(held));
      held_at = SteadyNow();
    }
    for (size_t i = at; i < std::min(at + kBlocksAtOnce, missing.size()); ++i) {
      ++totals_.blocks;
      totals_.bytes += missing[i].size;
    }
  }
  return {};
}

Result<void> Copy::Hold(std::span<const BlockRecord> blocks) {
  constexpr size_t kRowsAtOnce = 256;
  for (size_t at = 0; at < blocks.size(); at += kRowsAtOnce) {
    const auto some = blocks.subspan(at, std::min(kRowsAtOnce, blocks.size() - at));
    AIRSTORE_TRY(UntilNoConflict([&]() -> Result<void> {
      auto writer = to_.metadata->Write();
      if (!writer) return writer.error();
      for (const BlockRecord& one : some) {
        const auto known = (*writer)->GetBlock(target_, one.id);
        if (known && known->deleting) {
          return Error{EAGAIN, "the target is removing a block: copy again in ten minutes"};
        }
        BlockRecord block = known.value_or(one);
        if (!known) block.live_bytes = 0;
        block.touched_ns = WallClockNs();
        block.deleting = false;
        (*writer)->PutBlock(target_, block);
      }
      return (*writer)->Commit();
    }));
  }
  return {};
}

Result<void> Copy::CopyBlock(const BlockRecord& block) {
  auto data = from_blocks_.Get({source_.key, block.id});
  if (!data) return data.error();
  const std::string_view bytes = std::string_view(**data).substr(Blocks::kHeaderBytes);
  if (bytes.size() != block.size || ContentHash(bytes) != block.xxh3) {
    return Error{EIO, "the source has a block that is not what its record says: airctl fsck"};
  }
  return to_blocks_.Put({target_, block.id}, bytes, block.xxh3);
}

Result<void> Copy::Write(const std::vector<InodeRows>& rows) {
  References references;
  int64_t bytes = 0;
  for (const InodeRows& one : rows) {
    Count(one, &references);
    bytes += static_cast<int64_t>(one.inode.allocated);
  }
  const auto sources =
      Reading(*from_.metadata, [&](MetadataReader& reader) -> Result<std::vector<BlockRecord>> {
        std::vector<BlockRecord> blocks;
        for (const auto& [id, count] : references) {
          auto block = reader.GetBlock(source_.key, id);
          if (!block) return Error{EIO, "the source has changed"};
          blocks.push_back(std::move(*block));
        }
        return blocks;
      });
  if (!sources) return sources.error();
  return UntilNoConflict([&]() -> Result<void> {
    auto writer = to_.metadata->Write();
    if (!writer) return writer.error();
    for (const BlockRecord& source : *sources) {
      BlockRecord block = source;
      const auto known = (*writer)->GetBlock(target_, source.id);
      if (!known || known->deleting) {
        return Error{EAGAIN, "the target has removed a block: copy again in ten minutes"};
      }
      block.live_bytes = known->live_bytes + references.at(source.id);
      block.touched_ns = WallClockNs();
      block.deleting = false;
      (*writer)->PutBlock(target_, block);
    }
    for (const InodeRows& one : rows) WriteInodeRows(**writer, target_, one);
    (*writer)->AddUsage(target_, bytes, static_cast<int64_t>(rows.size()));
    return (*writer)->Commit();
  });
}

Result<void> Copy::Compare() {
  References references;
  uint64_t count = 0;
  for (size_t at = 0; at < inodes_.size(); at += kInodesAtOnce) {
    progress_("comparing", at, inodes_.size());
    const auto some = std::span(inodes_).subspan(at, std::min(kInodesAtOnce, inodes_.size() - at));
    const auto theirs = ReadFrom(some);
    if (!theirs) return theirs.error();
    const auto same = Reading(*to_.metadata, [&](MetadataReader& reader) -> Result<InodeNo> {
      for (const InodeRows& one : *theirs) {
        if (ReadInodeRows(reader, target_, one.inode.ino) != one) return one.inode.ino;
      }
      return InodeNo{0};
    });
    if (!same) return same.error();
    if (*same != 0) {
      return Error{EIO, "inode " + std::to_string(*same) +
                            " is not the same in the copy: delete that workspace, and copy again"};
    }
    count += theirs->size();
    for (const InodeRows& one : *theirs) Count(one, &references);
  }
  totals_.inodes = count;
  return CompareBlocks(references);
}

Result<void> Copy::CompareBlocks(const References& references) {
  uint64_t done = 0;
  for (const auto& [id, bytes] : references) {
    if (done++ % 64 == 0) progress_("reading back", done, references.size());
    const auto block = Reading(*to_.metadata, [&, of = id](MetadataReader& reader) {
      return Result(reader.GetBlock(target_, of));
    });
    if (!block) return block.error();
    auto data = to_blocks_.Get({target_, id});
    if (!data) return data.error();
    const std::string_view content = std::string_view(**data).substr(Blocks::kHeaderBytes);
    if (!*block || (*block)->live_bytes != bytes || (*block)->size != content.size() ||
        (*block)->xxh3 != ContentHash(content)) {
      return Error{EIO, "a block is not the same in the copy: delete that workspace, copy again"};
    }
  }
  return {};
}

Result<void> Copy::Finish() {
  auto root = ReadFrom(std::span(&kRootInode, 1));
  if (!root) return root.error();
  if (root->size() != 1) return Error{EIO, "the source has no root: airctl fsck"};
  struct Users {
    std::vector<MemberRecord> members;
    std::vector<TokenRecord> tokens;
  };
  const auto users = Reading(*from_.metadata, [&](MetadataReader& reader) {
    return Result(Users{reader.ListMembers(source_.key), reader.ListTokens(source_.key)});
  });
  if (!users) return users.error();
  const auto written = UntilNoConflict([&]() -> Result<void> {
    auto writer = to_.metadata->Write();
    if (!writer) return writer.error();
    for (MemberRecord member : users->members) {
      member.workspace = target_;
      (*writer)->PutMember(member);
    }
    for (TokenRecord token : users->tokens) {
      if ((*writer)->FindToken(token.hash)) continue;
      token.workspace = target_;
      (*writer)->PutToken(token);
    }
    (*writer)->SetNextInode(target_, source_.next_inode);
    (*writer)->AddUsage(target_, 0, 1);
    WriteInodeRows(**writer, target_, root->front());
    return (*writer)->Commit();
  });
  if (!written) return written.error();
  ++totals_.inodes;
  const auto same = Reading(*to_.metadata, [&](MetadataReader& reader) {
    return Result(ReadInodeRows(reader, target_, kRootInode) == root->front());
  });
  if (!same) return same.error();
  return *same ? Result<void>() : Error{EIO, "the root is not the same in the copy"};
}

}  // namespace

Result<CopyTotals> CopyWorkspace(Stores& from, Stores& to, const std::string& workspace,
                                 const std::string& as, const CopyProgress& progress) {
  return Copy(from, to, progress).Run(workspace, as);
}

}  // namespace airstore::gateway
