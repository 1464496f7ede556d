// SPDX-License-Identifier: Apache-2.0
//
// WorkspaceCheck: reading, and finding what looks wrong. How that becomes certain:
// workspace_confirm.cc; what is certain, and repairs: workspace_repair.cc.
#include "tools/gateway/check/workspace_check.h"

#include <sys/stat.h>

#include <algorithm>

namespace airstore::gateway {
namespace {

constexpr size_t kAtOnce = 256;      // rows of a transaction
constexpr size_t kFewEnough = 64;    // changed inodes, to be read while writers wait
constexpr size_t kMostPaths = 1000;  // finding a path costs reading listings
constexpr size_t kDeepest = 4096;    // directories in each other

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
    AIRSTORE_TRY(FindSuspects());
    if (suspects_.empty()) return {};
    if (!Continue("looking once more", 0, 0)) return kGivenUp;
    if (is_shared()) {
      AIRSTORE_TRY(Confirm());
    } else if (!options_.repair) {
      AIRSTORE_TRY(Verify());
    }
    if (options_.repair && !suspects_.empty()) AIRSTORE_TRY(Repair());
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

Result<void> WorkspaceCheck::ReadInodes() {
  std::vector<InodeNo> inodes;
  {
    auto reader = parts_.store.Read();
    if (!reader) return reader.error();
    inodes = (*reader)->ListAllInodes(workspace_.key);
    AIRSTORE_TRY((*reader)->status());
  }
  for (size_t at = 0; at < inodes.size(); at += kAtOnce) {
    AIRSTORE_TRY(Step("files", at, inodes.size()));
    const size_t count = std::min(kAtOnce, inodes.size() - at);
    AIRSTORE_TRY(census_.Read(parts_.store, std::span(inodes).subspan(at, count)));
  }
  return {};
}

Result<void> WorkspaceCheck::ReadAllRows() {
  std::vector<BlockId> ids;
  {
    auto reader = parts_.store.Read();
    if (!reader) return reader.error();
    ids = (*reader)->ListAllBlocks(workspace_.key);
    AIRSTORE_TRY((*reader)->status());
  }
  return ReadRows(ids);
}

Result<void> WorkspaceCheck::ReadRows(std::span<const BlockId> ids) {
  for (size_t at = 0; at < ids.size(); at += kAtOnce) {
    AIRSTORE_TRY(Step("blocks", at, ids.size()));
    const auto some = ids.subspan(at, std::min(kAtOnce, ids.size() - at));
    std::vector<std::optional<BlockRecord>> rows;
    const auto read = UntilNoConflict([&]() -> Result<void> {
      auto reader = parts_.store.Read();
      if (!reader) return reader.error();
      rows = (*reader)->ReadBlocks(workspace_.key, some);
      return (*reader)->status();
    });
    if (!read) return read;
    for (size_t i = 0; i < some.size(); ++i) {
      if (rows[i]) {
        rows_[some[i]] = {rows[i]->size, rows[i]->xxh3, rows[i]->live_bytes};
      } else {
        rows_.erase(some[i]);
      }
    }
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
    const size_t count = std::min(kAtOnce, changed.size() - at);
    AIRSTORE_TRY(census_.Read(parts_.store, std::span(changed).subspan(at, count)));
  }
  note_blocks();
  return ReadRows(std::vector<BlockId>(blocks.begin(), blocks.end()));
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

Result<void> WorkspaceCheck::FindSuspects() {
  using What = Suspect::What;
  const auto looks_lost = [&](const Census::Use& use) {
    const auto row = rows_.find(use.block);
    return bad_.contains(use.block) || (row != rows_.end() && use.end > row->second.size);
  };
  for (const auto& [ino, source] : census_.sources()) {
    if (ino != kRootInode && census_.names(ino) == 0 && !source.orphan) {
      suspects_.push_back({What::kNameless, ino});
    }
    if (source.nlink != census_.Links(ino, source) || source.allocated != source.bytes ||
        source.xattr_count != source.xattrs) {
      suspects_.push_back({What::kInode, ino});
    }
    for (const InodeNo child : source.children) {
      if (census_.Find(child) == nullptr) dangling_[ino].insert(child);
    }
    if (std::any_of(source.uses.begin(), source.uses.end(), looks_lost)) {
      suspects_.push_back({What::kContent, ino});
    }
  }
  for (const auto& [directory, children] : dangling_) {
    suspects_.push_back({What::kNames, directory});
  }
  for (const auto& [id, row] : rows_) {
    if (row.references != census_.references(id)) suspects_.push_back({What::kBlock, 0, id});
  }
  for (const auto& [id, bytes] : census_.blocks()) {
    if (!rows_.contains(id)) suspects_.push_back({What::kBlock, 0, id});
  }
  std::optional<Workspace> now;
  AIRSTORE_TRY(UntilNoConflict([&]() -> Result<void> {
    auto reader = parts_.store.Read();
    if (!reader) return reader.error();
    now = (*reader)->GetWorkspace(workspace_.key);
    return (*reader)->status();
  }));
  if (now && (now->used_bytes != census_.bytes() || now->inodes != census_.sources().size())) {
    suspects_.push_back({What::kUsage});
  }
  SortSuspects();
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
