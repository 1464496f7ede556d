// SPDX-License-Identifier: Apache-2.0
//
// WorkspaceCheck: what is certain, and its repair, inside of one transaction.
#include <sys/stat.h>

#include <algorithm>

#include "tools/gateway/blocks/block_name.h"
#include "tools/gateway/check/workspace_check.h"

namespace airstore::gateway {
namespace {

constexpr size_t kHolesAtOnce = 512;
constexpr int kUsageLooks = 1000;
constexpr std::string_view kLostAndFound = "lost+found";

}  // namespace

Damage& WorkspaceCheck::Add(std::string kind, std::string what, std::string remedy) {
  Damage& damage = found_.emplace_back();
  damage.kind = std::move(kind);
  damage.workspace = workspace_.name;
  damage.what = std::move(what);
  damage.remedy = std::move(remedy);
  return damage;
}

Result<void> WorkspaceCheck::JudgeAll(MetadataReader& rows, Changer* changer, Suspects some) {
  found_.clear();
  lost_and_found_ = 0;
  if (!rows.GetWorkspace(workspace_.key)) return rows.status();  // deleted meanwhile
  AIRSTORE_TRY(ReadForJudgement(rows, some));
  if (changer != nullptr) changer->CommitAnyway();
  for (const Suspect& suspect : some) AIRSTORE_TRY(Judge(rows, changer, suspect));
  return {};
}

Result<void> WorkspaceCheck::ReadForJudgement(MetadataReader& rows, Suspects some) {
  if (!is_shared()) {
    AIRSTORE_TRY(NoteChanges());
    // Nobody changes anything from here on, so what is counted is exact.
    const std::vector<InodeNo> changed(unread_.begin(), unread_.end());
    unread_.clear();
    return census_.Read(rows, changed);
  }
  // First, so that the transaction fails if they change. What was changed before is told below.
  ExpectedRows expected;
  for (const Suspect& suspect : some) {
    if (suspect.ino != 0) expected.inodes.push_back(suspect.ino);
    if (suspect.what == Suspect::What::kBlock) expected.blocks.push_back(suspect.block);
  }
  rows.Expect(workspace_.key, expected);
  AIRSTORE_TRY(NoteChanges());
  unread_.insert(expected.inodes.begin(), expected.inodes.end());
  return ReadChanged();
}

Result<void> WorkspaceCheck::Judge(MetadataReader& rows, Changer* changer, const Suspect& suspect) {
  switch (suspect.what) {
    case Suspect::What::kUsage:
      return JudgeUsage(rows, changer);
    case Suspect::What::kBlock:
      JudgeBlock(rows, changer, suspect.block);
      return {};
    case Suspect::What::kInode:
      JudgeInode(changer, suspect.ino);
      return {};
    case Suspect::What::kContent:
      JudgeContent(rows, changer, suspect.ino);
      return {};
    case Suspect::What::kNames:
      return JudgeNames(rows, changer, suspect.ino);
    case Suspect::What::kNameless:
      JudgeNameless(changer, suspect.ino);
      return {};
  }
  return {};
}

Result<std::optional<Workspace>> WorkspaceCheck::UsageNow(MetadataReader& rows) {
  if (!is_shared()) return rows.GetWorkspace(workspace_.key);
  for (int look = 0; look < kUsageLooks; ++look) {
    auto reader = parts_.store.Read();
    if (!reader) return reader.error();
    auto now = (*reader)->GetWorkspace(workspace_.key);
    auto read = (*reader)->status();
    if (!read && read.error().code != kStoreConflict) return read.error();
    AIRSTORE_TRY(NoteChanges());
    // Nobody has changed anything between the last look at changes and this one.
    if (read && unread_.empty()) return now;
    AIRSTORE_TRY(ReadChanged());
  }
  return Error{kStoreConflict, "usage"};
}

Result<void> WorkspaceCheck::JudgeUsage(MetadataReader& rows, Changer* changer) {
  const auto usage = UsageNow(rows);
  if (!usage) return usage.error();
  const auto& now = *usage;
  if (!now) return {};
  const uint64_t inodes = census_.sources().size();
  if (now->used_bytes == census_.bytes() && now->inodes == inodes) return {};
  Add("usage",
      "the workspace counts " + std::to_string(now->used_bytes) + " bytes and " +
          std::to_string(now->inodes) + " files and directories; there are " +
          std::to_string(census_.bytes()) + " and " + std::to_string(inodes),
      "it counts what there is");
  if (changer == nullptr) return {};
  // The difference is right whatever others add meanwhile, but for a check at another gateway that
  // adds the same one. The row was read before the usage was, so what writes it first is alone.
  MetadataWriter& store = changer->tree().store();
  if (const auto row = store.GetWorkspace(workspace_.key)) {
    store.SetQuota(workspace_.key, row->quota_bytes, row->quota_inodes);
  }
  store.AddUsage(workspace_.key, static_cast<int64_t>(census_.bytes() - now->used_bytes),
                 static_cast<int64_t>(inodes - now->inodes));
  return {};
}

void WorkspaceCheck::JudgeBlock(MetadataReader& rows, Changer* changer, const BlockId& id) {
  std::optional<uint64_t> counted;
  if (is_shared() && changer == nullptr) {
    const auto row = rows_.find(id);
    if (row != rows_.end()) counted = row->second.references;
  } else if (const auto row = rows.GetBlock(workspace_.key, id)) {
    counted = row->live_bytes;
  }
  const uint64_t references = census_.references(id);
  if (!counted) {
    const auto rebuilt = rebuilt_.find(id);
    if (references == 0 || rebuilt == rebuilt_.end()) return;  // lost: JudgeContent
    Add("block-row", "a block that files need is not recorded, and would be deleted as nobody's",
        "it is recorded; nothing is lost")
        .block = ToHex(id.view());
    if (changer == nullptr) return;
    BlockRecord record = rebuilt->second;
    record.live_bytes = references;
    record.touched_ns = WallClockNs();
    changer->tree().AddBlock(std::move(record));
    return;
  }
  if (*counted == references) return;
  Add("block-references",
      "a block counts " + std::to_string(*counted) + " bytes in use; there are " +
          std::to_string(references) +
          (*counted < references ? ", so it would be deleted while files need it"
                                 : ", so it would be kept for ever"),
      "it counts what there is; nothing is lost")
      .block = ToHex(id.view());
  if (changer != nullptr) changer->tree().SetReferences(id, references);
}

void WorkspaceCheck::JudgeInode(Changer* changer, InodeNo ino) {
  const Census::Source* source = census_.Find(ino);
  if (source == nullptr) return;
  Inode* inode = changer == nullptr ? nullptr : changer->tree().Find(ino);
  const auto mended = [&] {
    if (inode != nullptr) changer->mutator().Changed(*inode);
  };
  const uint32_t links = census_.Links(ino, *source);
  const bool named = ino == kRootInode || census_.names(ino) != 0;
  if (source->nlink != links && (named || source->orphan)) {
    Add("link-count",
        "it counts " + std::to_string(source->nlink) + " links; there are " + std::to_string(links),
        "it counts what there is; nothing is lost")
        .ino = ino;
    if (inode != nullptr) inode->nlink = links;
    mended();
  }
  if (source->allocated != source->bytes) {
    Add("allocated-count",
        "it counts " + std::to_string(source->allocated) + " bytes of content; there are " +
            std::to_string(source->bytes),
        "it counts what there is; nothing is lost")
        .ino = ino;
    if (inode != nullptr) inode->allocated = source->bytes;
    mended();
  }
  if (source->xattr_count != source->xattrs) {
    Add("xattr-count",
        "it counts " + std::to_string(source->xattr_count) + " extended attributes; there are " +
            std::to_string(source->xattrs),
        "it counts what there is; nothing is lost")
        .ino = ino;
    if (inode != nullptr) inode->xattr_count = source->xattrs;
    mended();
  }
}

void WorkspaceCheck::JudgeContent(MetadataReader& rows, Changer* changer, InodeNo ino) {
  if (census_.Find(ino) == nullptr) return;
  // One finding for each block, and for what reaches out of one.
  struct Lost {
    std::string kind, why;
    std::vector<Extent> extents;
  };
  std::vector<Lost> losses;
  for (const Extent& e : rows.ListExtents(workspace_.key, ino, 0, kMaxFileBytes)) {
    const auto bad = bad_.find(e.block);
    const auto row = rows_.find(e.block);  // the size of a block stays as it is
    Lost lost;
    if (bad == bad_.end()) {
      if (row == rows_.end() || e.block_offset + e.length <= row->second.size) continue;
      lost.kind = "bad-extent";
      lost.why = "what it refers to is not in its block";
    } else if (bad->second == Bytes::kUnreadable) {
      lost.kind = "unreadable-block";
      lost.why = "a block cannot be read at the moment";
    } else if (bad->second == Bytes::kMissing) {
      lost.kind = "missing-block";
      lost.why = "a block is missing";
    } else {
      lost.kind = "corrupt-block";
      lost.why = "a block is damaged: it does not have the hash it was stored with";
    }
    lost.extents.push_back(e);
    if (!losses.empty() && losses.back().extents.back().block == e.block &&
        losses.back().kind == lost.kind) {
      losses.back().extents.push_back(e);
    } else {
      losses.push_back(std::move(lost));
    }
  }
  for (const Lost& lost : losses) {
    const bool may_come_back = lost.kind == "unreadable-block";
    uint64_t bytes = 0;
    for (const Extent& e : lost.extents) bytes += e.length;
    Damage& damage =
        Add(lost.kind, lost.why + "; reading there fails (EIO)",
            may_come_back ? ""
                          : "these bytes are lost, and read as zeros from then on; the rest stays");
    damage.ino = ino;
    damage.block = ToHex(lost.extents.front().block.view());
    damage.offset = lost.extents.front().offset;
    damage.lost_bytes = may_come_back ? 0 : bytes;
    if (changer == nullptr || may_come_back) continue;
    for (size_t at = 0; at < lost.extents.size(); at += kHolesAtOnce) {
      WriteOp holes;
      holes.ino = ino;
      for (size_t i = at; i < std::min(at + kHolesAtOnce, lost.extents.size()); ++i) {
        holes.extents.push_back({lost.extents[i].offset, lost.extents[i].length, HoleSource{}});
      }
      if (changer->Run(holes) != 0) damage.remedy.clear();
    }
  }
}

std::vector<Name> WorkspaceCheck::SuspectNames(MetadataReader& rows, InodeNo directory) const {
  std::vector<Name> suspect;
  const auto children = dangling_.find(directory);
  if (children == dangling_.end()) return suspect;
  for (std::string after;;) {
    auto names = rows.ListNames(workspace_.key, directory, after, 1000);
    const bool last = names.size() < 1000;
    if (!last) after = names.back().name;
    for (Name& name : names) {
      if (children->second.contains(name.ino)) suspect.push_back(std::move(name));
    }
    if (last) return suspect;
  }
}

Result<void> WorkspaceCheck::JudgeNames(MetadataReader& rows, Changer* changer, InodeNo directory) {
  if (census_.Find(directory) == nullptr) return {};
  std::vector<Name> dangling = SuspectNames(rows, directory);
  std::erase_if(dangling, [&](const Name& name) {
    return rows.GetInode(workspace_.key, name.ino).has_value();
  });
  if (is_shared() && changer == nullptr && !dangling.empty()) {
    // Not of one moment: what has a name before and after it was found to be gone had it then, too,
    // because numbers do not come back.
    auto again = parts_.store.Read();
    if (!again) return again.error();
    const auto there = SuspectNames(**again, directory);
    std::erase_if(dangling, [&](const Name& name) {
      return std::none_of(there.begin(), there.end(), [&](const Name& other) {
        return other.name == name.name && other.ino == name.ino;
      });
    });
  }
  for (const auto& [name, ino] : dangling) {
    Damage& damage = Add("dangling-name", "the file or directory that this name stood for is gone",
                         "the name is removed");
    damage.ino = directory;
    damage.path = name;
    if (changer == nullptr) continue;
    if (changer->Run(TouchOp{directory}) != 0) continue;
    changer->tree().store().DeleteEntry(workspace_.key, directory, name);
    changer->mutator().NameChanged(*changer->tree().Find(directory), name);
  }
  return {};
}

InodeNo WorkspaceCheck::LostAndFound(Changer& changer) {
  if (lost_and_found_ != 0) return lost_and_found_;
  if (const auto there = changer.Lookup(kRootInode, kLostAndFound)) {
    const Inode* inode = changer.Find(*there);
    return inode != nullptr && S_ISDIR(inode->mode) ? lost_and_found_ = *there : 0;
  }
  CreateOp make;
  make.parent = kRootInode;
  make.name = kLostAndFound;
  make.ino = spare_inode_;
  make.mode = S_IFDIR | 0700;
  return changer.Run(make) == 0 ? lost_and_found_ = spare_inode_ : 0;
}

void WorkspaceCheck::JudgeNameless(Changer* changer, InodeNo ino) {
  const Census::Source* source = census_.Find(ino);
  if (source == nullptr || census_.names(ino) != 0 || source->orphan) return;
  const std::string name = "#" + std::to_string(ino);
  Damage& damage = Add("nameless-inode", "it has no name, so nobody can get at it",
                       "it gets the name " + std::string(kLostAndFound) + "/" + name);
  damage.ino = ino;
  if (changer == nullptr) return;
  const InodeNo parent = LostAndFound(*changer);
  Inode* inode = changer->tree().Find(ino);
  if (parent == 0 || inode == nullptr || changer->Lookup(parent, name) ||
      changer->Run(TouchOp{parent}) != 0) {
    damage.remedy.clear();
    return;
  }
  Inode& directory = *changer->tree().Find(parent);
  inode->nlink = 1;
  inode->parent = parent;
  if (S_ISDIR(inode->mode)) {
    inode->nlink = census_.Links(ino, *source);
    ++directory.nlink;
  }
  changer->tree().store().PutEntry(workspace_.key, parent, name, ino);
  changer->mutator().NameChanged(directory, name);
  changer->mutator().Changed(*inode);
}

}  // namespace airstore::gateway
