// SPDX-License-Identifier: Apache-2.0
//
// WorkspaceCheck: reading, and finding what looks wrong. What is certain, and repairs:
// workspace_repair.cc.
#include "tools/gateway/check/workspace_check.h"

#include <sys/stat.h>

#include <algorithm>
#include <thread>

#include "broker/log_event.h"

namespace airstore::gateway {
namespace {

constexpr size_t kAtOnce = 256;      // rows of a transaction
constexpr size_t kFewEnough = 64;    // changed inodes, to be read while writers wait
constexpr int kCatchUps = 100;       // rounds, before writers have to wait for more
constexpr size_t kMostPaths = 1000;  // finding a path costs reading listings
constexpr size_t kDeepest = 4096;    // directories in each other
constexpr auto kPause = std::chrono::milliseconds(50);

const Error kGivenUp{ECANCELED, "given up"};

}  // namespace

Result<void> WorkspaceCheck::Run() {
  parts_.batches.tracker().Watch(workspace_.key);
  const auto done = [&]() -> Result<void> {
    AIRSTORE_TRY(ReadInodes());
    AIRSTORE_TRY(ReadRows());
    AIRSTORE_TRY(ReadContent());
    AIRSTORE_TRY(CatchUp());
    Suspect();
    if (suspects_.empty()) return {};
    if (!Continue("looking once more", 0, 0)) return kGivenUp;
    if (auto sure = options_.repair ? RepairNow() : Verify(); !sure) {
      if (sure.error().code != kStoreConflict) return sure.error();
      return Error{EAGAIN, "workspace " + workspace_.name +
                               " is changed too often to be sure of what looks wrong in it: try "
                               "again when less is going on"};
    }
    return NamePaths();
  }();
  parts_.batches.tracker().Stop();
  return done;
}

Result<void> WorkspaceCheck::ReadSome(std::span<const InodeNo> inodes) {
  const auto read = census_.Read(parts_.store, inodes);
  if (read || read.error().code != kStoreConflict) return read;
  unread_.insert(inodes.begin(), inodes.end());
  return {};
}

Result<void> WorkspaceCheck::ReadInodes() {
  std::vector<InodeNo> inodes;
  {
    auto reader = parts_.store.Read();
    if (!reader) return reader.error();
    inodes = (*reader)->ListAllInodes(workspace_.key);
    AIRSTORE_TRY((*reader)->status());
  }
  for (size_t at = 0; at < inodes.size(); at += kAtOnce) {
    if (!Continue("files", at, inodes.size())) return kGivenUp;
    AIRSTORE_TRY(ReadSome(std::span(inodes).subspan(at, std::min(kAtOnce, inodes.size() - at))));
  }
  return {};
}

Result<void> WorkspaceCheck::ReadRows() {
  std::vector<BlockId> ids;
  {
    auto reader = parts_.store.Read();
    if (!reader) return reader.error();
    ids = (*reader)->ListAllBlocks(workspace_.key);
    AIRSTORE_TRY((*reader)->status());
  }
  for (size_t at = 0; at < ids.size(); at += kAtOnce) {
    if (!Continue("blocks", at, ids.size())) return kGivenUp;
    const auto some = std::span(ids).subspan(at, std::min(kAtOnce, ids.size() - at));
    AIRSTORE_TRY(UntilNoConflict([&]() -> Result<void> {
      auto reader = parts_.store.Read();
      if (!reader) return reader.error();
      for (const BlockId& id : some) {
        const auto row = (*reader)->GetBlock(workspace_.key, id);
        if (row) rows_[id] = {row->size, row->xxh3, row->live_bytes};
      }
      return (*reader)->status();
    }));
  }
  return {};
}

Result<void> WorkspaceCheck::ReadContent() {
  std::vector<BlockId> wanted;
  uint64_t total = 0;
  for (const auto& [id, bytes] : census_.blocks()) {
    const auto row = rows_.find(id);
    if (!options_.content && row != rows_.end() && stored_.contains(id)) continue;
    wanted.push_back(id);
    total += row == rows_.end() ? 0 : row->second.size;
  }
  for (const BlockId& id : wanted) {
    if (!Continue("content, MiB", content_bytes_ >> 20, total >> 20)) return kGivenUp;
    AIRSTORE_TRY(LookAtBlock(id));
  }
  return {};
}

Result<void> WorkspaceCheck::LookAtBlock(const BlockId& id) {
  const auto stored = parts_.blocks.store().Get({workspace_.key, id});
  if (!stored) {
    bad_[id] = stored.error().code == ENOENT ? Bytes::kMissing : Bytes::kUnreadable;
    return {};
  }
  const std::string_view data =
      std::string_view(*stored).substr(std::min(Blocks::kHeaderBytes, stored->size()));
  content_bytes_ += data.size();
  const auto row = rows_.find(id);
  const bool intact = IsIntactBlock(*stored);
  const uint64_t hash = intact ? ContentHash(data) : 0;
  if (!intact ||
      (row != rows_.end() && (row->second.xxh3 != hash || row->second.size != data.size()))) {
    bad_[id] = Bytes::kCorrupt;
  } else if (row == rows_.end()) {
    rebuilt_[id] = {id, data.size(), hash, 0, 0, false};
  }
  return {};
}

// Reads what was changed meanwhile, until that is little.
Result<void> WorkspaceCheck::CatchUp() {
  for (int round = 0; round < kCatchUps; ++round) {
    unread_.merge(parts_.batches.tracker().Take());
    if (unread_.size() <= kFewEnough) return {};
    const std::vector<InodeNo> changed(unread_.begin(), unread_.end());
    unread_.clear();
    for (size_t at = 0; at < changed.size(); at += kAtOnce) {
      if (!Continue("what was changed meanwhile", at, changed.size())) return kGivenUp;
      AIRSTORE_TRY(
          ReadSome(std::span(changed).subspan(at, std::min(kAtOnce, changed.size() - at))));
    }
  }
  return {};
}

void WorkspaceCheck::Suspect() {
  const auto is_too_small = [&](const Census::Use& use) {
    const auto row = rows_.find(use.block);
    return row != rows_.end() && use.end > row->second.size;
  };
  for (const auto& [ino, source] : census_.sources()) {
    const bool named = ino == kRootInode || census_.names(ino) != 0 || source.orphan;
    if (!named || source.nlink != census_.Links(ino, source) || source.allocated != source.bytes ||
        source.xattr_count != source.xattrs) {
      suspects_.inodes.insert(ino);
    }
    for (const InodeNo child : source.children) {
      if (census_.Find(child) == nullptr) suspects_.dangling[ino].insert(child);
    }
    for (const Census::Use& use : source.uses) {
      if (bad_.contains(use.block) || is_too_small(use)) suspects_.content.insert(ino);
    }
  }
  for (const auto& [id, row] : rows_) {
    if (row.references != census_.references(id)) suspects_.rows.insert(id);
  }
  for (const auto& [id, bytes] : census_.blocks()) {
    if (!rows_.contains(id)) suspects_.rows.insert(id);
  }
  // Where others may change it too, it is wrong for a moment all the time.
  std::unordered_set<InodeNo> changed = parts_.batches.tracker().Take();
  const bool quiet = changed.empty();
  unread_.merge(changed);
  const auto reader = parts_.store.Read();
  if (!reader || (parts_.shared && !quiet)) return;
  const auto now = (*reader)->GetWorkspace(workspace_.key);
  suspects_.usage =
      now && (now->used_bytes != census_.bytes() || now->inodes != census_.sources().size());
}

Result<void> WorkspaceCheck::Verify() {
  const auto pause = parts_.collector.Pause();
  const auto judge = [&](MetadataReader& rows) -> Result<void> {
    if (!Continue("looking once more", 0, 0)) return kGivenUp;
    if (const int error = Judge(rows, nullptr); error != 0) return Error{error, "check"};
    return rows.status();
  };
  return UntilNoConflict([&]() -> Result<void> {
    if (parts_.shared) {
      auto reader = parts_.store.Read();
      if (!reader) return reader.error();
      return judge(**reader);
    }
    // A writer, to be alone; it commits nothing.
    auto writer = parts_.store.Write();
    if (!writer) return writer.error();
    return judge(**writer);
  });
}

Result<void> WorkspaceCheck::RepairNow() {
  SessionRecord presence;
  presence.id = SessionId::From(RandomBlockId().view());
  presence.workspace = workspace_.key;
  presence.client = "fsck";
  auto spare = parts_.grant(workspace_.key);
  if (!spare) return spare.error();
  spare_inode_ = *spare;
  AIRSTORE_TRY(parts_.sessions.Remember(presence));
  const SteadyTime deadline = SteadyNow() + parts_.sessions.lifetime() + std::chrono::seconds(5);
  Result<uint64_t> done = Error{EBUSY, {}};
  while (true) {
    const auto recalled = parts_.sessions.RecallOthers(presence);
    if (!recalled) {
      done = recalled.error();
    } else if (!*recalled) {
      const auto pause = parts_.collector.Pause();
      done = parts_.batches.Change(workspace_.key, presence.id, {},
                                   [&](Changer& changer, WriteOp&) -> int {
                                     if (!Continue("mending", 0, 0)) return ECANCELED;
                                     return Judge(changer.tree().store(), &changer);
                                   });
    }
    if (done || done.error().code != EBUSY || SteadyNow() >= deadline) break;
    parts_.sessions.Touch(presence.id, SteadyNow());
    if (!Continue("waiting for a host to give back its lease", 0, 0)) break;
    std::this_thread::sleep_for(kPause);
  }
  if (auto gone = parts_.sessions.Forget(presence); !gone) {
    broker::LogEvent(spdlog::level::warn,
                     {{"workspace", workspace_.name}, {"error", gone.error().ToString()}},
                     "the check's session stays for a while: {}", gone.error().ToString());
  }
  if (!done) {
    if (done.error().code != EBUSY) return done.error();
    return Error{EBUSY, "a host does not give back its lease of workspace " + workspace_.name};
  }
  for (Damage& damage : damages_) damage.repaired = !damage.remedy.empty();
  return {};
}

std::string WorkspaceCheck::PathOf(MetadataReader& rows, InodeNo ino,
                                   const std::unordered_map<InodeNo, InodeNo>& parents) const {
  std::string path;
  for (size_t depth = 0; ino != kRootInode && depth < kDeepest; ++depth) {
    const Census::Source* source = census_.Find(ino);
    const auto found = parents.find(ino);
    const InodeNo parent = found != parents.end() ? found->second
                           : source != nullptr    ? source->parent
                                                  : 0;
    if (parent == 0) return {};
    std::string own;
    for (std::string after; own.empty();) {
      const auto names = rows.ListNames(workspace_.key, parent, after, 1000);
      for (const Name& name : names) {
        if (name.ino == ino) own = name.name;
      }
      if (names.size() < 1000) break;
      after = names.back().name;
    }
    if (own.empty()) return {};
    path = path.empty() ? own : own + "/" + path;
    ino = parent;
  }
  return path;
}

Result<void> WorkspaceCheck::NamePaths() {
  std::unordered_set<InodeNo> wanted;
  for (const Damage& damage : damages_) {
    if (damage.ino != 0) wanted.insert(damage.ino);
  }
  const auto parents = census_.ParentsOf(wanted);
  size_t named = 0;
  for (Damage& damage : damages_) {
    if (damage.ino == 0 || ++named > kMostPaths) continue;
    auto reader = parts_.store.Read();
    if (!reader) return reader.error();
    const std::string path = PathOf(**reader, damage.ino, parents);
    if (damage.path.empty()) {
      damage.path = damage.ino == kRootInode ? "." : path;
    } else if (!path.empty()) {
      damage.path = path + "/" + damage.path;  // of a name in it
    }
  }
  return {};
}

}  // namespace airstore::gateway
