// SPDX-License-Identifier: Apache-2.0
//
// WorkspaceCheck: reading, and finding what looks wrong. What is certain, and repairs:
// workspace_repair.cc.
#include "tools/gateway/check/workspace_check.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <thread>

namespace airstore::gateway {
namespace {

constexpr size_t kFewEnough = 64;    // changed inodes, to be read while writers wait
constexpr size_t kMostPaths = 1000;  // finding a path costs reading listings
constexpr size_t kDeepest = 4096;    // directories in each other
constexpr auto kPause = std::chrono::milliseconds(50);
constexpr int kLooks = 5;

const Error kGivenUp{ECANCELED, "given up"};

}  // namespace

Result<void> WorkspaceCheck::Run() {
  parts_.batches.tracker().Watch(workspace_.key);
  const auto done = [&]() -> Result<void> {
    AIRSTORE_TRY(NoteChanges());
    AIRSTORE_TRY(ReadInodes());
    AIRSTORE_TRY(ReadAllRows());
    AIRSTORE_TRY(ReadContent());
    AIRSTORE_TRY(CatchUp());
    AIRSTORE_TRY(Suspect());
    if (is_shared()) AIRSTORE_TRY(Settle());
    if (suspects_.empty()) return {};
    if (!Continue("looking once more", 0, 0)) return kGivenUp;
    AIRSTORE_TRY(options_.repair ? RepairNow() : Verify());
    return NamePaths();
  }();
  parts_.batches.tracker().Stop();
  const bool too_busy =
      !done && (done.error().code == kStoreConflict || done.error().code == ESTALE);
  if (!too_busy) return done;
  return Error{EAGAIN, "workspace " + workspace_.name +
                           " is changed too often to be sure of what looks wrong in it: try again "
                           "when less is going on"};
}

void WorkspaceCheck::Suspects::Keep(const Suspects& other) {
  std::erase_if(inodes, [&](InodeNo ino) { return !other.inodes.contains(ino); });
  for (auto of = dangling.begin(); of != dangling.end();) {
    const auto also = other.dangling.find(of->first);
    std::erase_if(of->second, [&](InodeNo child) {
      return also == other.dangling.end() || !also->second.contains(child);
    });
    of = of->second.empty() ? dangling.erase(of) : std::next(of);
  }
  std::erase_if(rows, [&](const BlockId& id) { return !other.rows.contains(id); });
  std::erase_if(content, [&](InodeNo ino) { return !other.content.contains(ino); });
  usage = usage && other.usage;
}

Result<void> WorkspaceCheck::Step(const char* phase, uint64_t done, uint64_t total) {
  if (!Continue(phase, done, total)) return kGivenUp;
  return NoteChanges();
}

Result<void> WorkspaceCheck::NoteChanges() {
  unread_.merge(parts_.batches.tracker().Take());
  if (!is_shared()) return {};
  const auto changed = parts_.changed_elsewhere(workspace_.key, &cursor_);
  if (!changed) return changed.error();
  unread_.insert(changed->begin(), changed->end());
  return {};
}

Result<void> WorkspaceCheck::ReadSome(std::span<const InodeNo> inodes) {
  const auto read = census_.Read(parts_.store, inodes);
  if (read || read.error().code != kStoreConflict) return read;
  unread_.insert(inodes.begin(), inodes.end());
  return {};
}

Result<void> WorkspaceCheck::ReadInodes() {
  std::vector<InodeNo> inodes;
  AIRSTORE_TRY(UntilNoConflict([&]() -> Result<void> {
    auto reader = parts_.store.Read();
    if (!reader) return reader.error();
    inodes = (*reader)->ListAllInodes(workspace_.key);
    return (*reader)->status();
  }));
  for (size_t at = 0; at < inodes.size(); at += kAtOnce) {
    AIRSTORE_TRY(Step("files", at, inodes.size()));
    AIRSTORE_TRY(ReadSome(std::span(inodes).subspan(at, std::min(kAtOnce, inodes.size() - at))));
  }
  return {};
}

Result<void> WorkspaceCheck::ReadAllRows() {
  std::vector<BlockId> ids;
  AIRSTORE_TRY(UntilNoConflict([&]() -> Result<void> {
    auto reader = parts_.store.Read();
    if (!reader) return reader.error();
    ids = (*reader)->ListAllBlocks(workspace_.key);
    return (*reader)->status();
  }));
  return ReadRows(ids);
}

Result<void> WorkspaceCheck::ReadRows(std::span<const BlockId> ids) {
  for (size_t at = 0; at < ids.size(); at += kAtOnce) {
    AIRSTORE_TRY(Step("blocks", at, ids.size()));
    const auto some = ids.subspan(at, std::min(kAtOnce, ids.size() - at));
    AIRSTORE_TRY(InPieces(some, [&](std::span<const BlockId> piece) -> Result<void> {
      auto reader = parts_.store.Read();
      if (!reader) return reader.error();
      for (const BlockId& id : piece) {
        const auto row = (*reader)->GetBlock(workspace_.key, id);
        if (row) {
          rows_[id] = {row->size, row->xxh3, row->live_bytes};
        } else {
          rows_.erase(id);
        }
      }
      return (*reader)->status();
    }));
  }
  return {};
}

Result<void> WorkspaceCheck::ReadChanged() {
  const std::vector<InodeNo> changed(unread_.begin(), unread_.end());
  unread_.clear();
  std::unordered_set<BlockId, Id16Hash> blocks;
  const auto note_blocks = [&] {
    for (const InodeNo ino : changed) {
      const Census::Source* source = census_.Find(ino);
      if (source == nullptr) continue;
      for (const Census::Use& use : source->uses) blocks.insert(use.block);
    }
  };
  note_blocks();
  for (size_t at = 0; at < changed.size(); at += kAtOnce) {
    AIRSTORE_TRY(Step("what was changed meanwhile", at, changed.size()));
    AIRSTORE_TRY(ReadSome(std::span(changed).subspan(at, std::min(kAtOnce, changed.size() - at))));
  }
  note_blocks();
  const std::vector<BlockId> used(blocks.begin(), blocks.end());
  return ReadRows(used);
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
    AIRSTORE_TRY(Step("content, MiB", content_bytes_ >> 20, total >> 20));
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

// Reads what was changed meanwhile, until that is little, or does not get less.
Result<void> WorkspaceCheck::CatchUp() {
  for (size_t before = SIZE_MAX;;) {
    AIRSTORE_TRY(NoteChanges());
    if (unread_.size() <= kFewEnough || unread_.size() >= before) return {};
    before = unread_.size();
    AIRSTORE_TRY(ReadChanged());
  }
}

Result<void> WorkspaceCheck::Suspect() {
  suspects_ = {};
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
  std::optional<Workspace> now;
  AIRSTORE_TRY(UntilNoConflict([&]() -> Result<void> {
    auto reader = parts_.store.Read();
    if (!reader) return reader.error();
    now = (*reader)->GetWorkspace(workspace_.key);
    return (*reader)->status();
  }));
  suspects_.usage =
      now && (now->used_bytes != census_.bytes() || now->inodes != census_.sources().size());
  return {};
}

Result<void> WorkspaceCheck::Settle() {
  for (int look = 0; look < kLooks && !suspects_.empty(); ++look) {
    std::this_thread::sleep_for(kPause);
    AIRSTORE_TRY(Step("looking once more", 0, 0));
    const Suspects before = std::move(suspects_);
    unread_.insert(before.inodes.begin(), before.inodes.end());
    unread_.insert(before.content.begin(), before.content.end());
    for (const auto& [directory, children] : before.dangling) {
      unread_.insert(directory);
      unread_.insert(children.begin(), children.end());
    }
    AIRSTORE_TRY(ReadChanged());
    AIRSTORE_TRY(ReadRows(std::vector<BlockId>(before.rows.begin(), before.rows.end())));
    AIRSTORE_TRY(Suspect());
    suspects_.Keep(before);
  }
  return {};
}

Result<void> WorkspaceCheck::Verify() {
  const auto pause = parts_.collector.Pause();
  return UntilNoConflict([&]() -> Result<void> {
    if (!Continue("looking once more", 0, 0)) return kGivenUp;
    // A writer, to be alone in this process.
    auto writer = parts_.store.Write();
    if (!writer) return writer.error();
    if (const int error = Judge(**writer, nullptr); error != 0) return Error{error, "check"};
    AIRSTORE_TRY((*writer)->status());
    // It changes nothing, but fails when somebody else has changed what was read.
    return is_shared() ? (*writer)->Commit() : Result<void>();
  });
}

Result<void> WorkspaceCheck::RepairNow() {
  const auto pause = parts_.collector.Pause();
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
      done = parts_.batches.Change(workspace_.key, presence.id, {},
                                   [&](Changer& changer, WriteOp&) -> int {
                                     if (!Continue("mending", 0, 0)) return ECANCELED;
                                     return Judge(changer.tree().store(), &changer);
                                   });
    }
    const bool later = !done && (done.error().code == EBUSY || done.error().code == kStoreConflict);
    if (!later || SteadyNow() >= deadline) break;
    parts_.sessions.Touch(presence.id, SteadyNow());
    if (!Continue("waiting for a host to give back its lease", 0, 0)) break;
    std::this_thread::sleep_for(kPause);
  }
  if (auto gone = parts_.sessions.Forget(presence); !gone) {
    spdlog::warn("the check's session stays for a while: {}", gone.error().ToString());
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
