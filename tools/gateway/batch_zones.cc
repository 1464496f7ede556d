// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/batch_zones.h"

#include <sys/stat.h>

#include <algorithm>

namespace airstore::gateway {

BatchZones::BatchZones(WorkingTree& tree)
    : tree_(tree), zones_([&tree](InodeNo directory) -> std::optional<InodeNo> {
        const Inode* inode = tree.Find(directory);
        return inode == nullptr ? std::nullopt : std::optional(inode->parent);
      }) {}

// A change of names moves the directory's times.
void BatchZones::TouchNames(InodeNo directory) {
  Touch(zones_.OfNames(directory));
  const Inode* inode = tree_.Find(directory);
  if (inode != nullptr && zones_.Of(*inode) == kRootInode) shared_.insert(directory);
}

void BatchZones::TouchInode(InodeNo ino) {
  const Inode* inode = tree_.Find(ino);
  if (inode == nullptr) return;
  const InodeNo zone = zones_.Of(*inode);
  Touch(zone);
  if (zone == kRootInode) shared_.insert(ino);
}

void BatchZones::TouchNamed(InodeNo parent, std::string_view name) {
  const auto ino = tree_.store().GetEntry(tree_.workspace(), parent, name);
  const Inode* inode = ino ? tree_.Find(*ino) : nullptr;
  if (inode == nullptr) return;
  TouchInode(*ino);
  if (!S_ISDIR(inode->mode)) return;
  const InodeNo within = zones_.OfNames(*ino);
  Touch(within);
  moving_.emplace_back(*ino, within);
}

void BatchZones::Visit(const Mutation& mutation) {
  if (const auto* create = std::get_if<CreateOp>(&mutation.op)) {
    if (create->parent != 0) TouchNames(create->parent);
    // Who makes it knows that it is empty.
    if (S_ISDIR(create->mode) && create->parent == kRootInode) Touch(create->ino);
  } else if (const auto* link = std::get_if<LinkOp>(&mutation.op)) {
    TouchNames(link->parent);
    TouchInode(link->ino);
  } else if (const auto* unlink = std::get_if<UnlinkOp>(&mutation.op)) {
    TouchNames(unlink->parent);
    InodeNo ino = unlink->ino;
    if (ino == 0) {
      const WorkspaceKey ws = tree_.workspace();
      ino = tree_.store().GetEntry(ws, unlink->parent, unlink->name).value_or(0);
    }
    if (ino != 0) TouchInode(ino);
    if (ino != 0 && unlink->directory) Touch(zones_.OfNames(ino));
  } else if (const auto* rename = std::get_if<RenameOp>(&mutation.op)) {
    TouchNames(rename->old_parent);
    TouchNames(rename->new_parent);
  } else if (const auto* attributes = std::get_if<SetAttrOp>(&mutation.op)) {
    TouchInode(attributes->ino);
  } else if (const auto* write = std::get_if<WriteOp>(&mutation.op)) {
    TouchInode(write->ino);
  } else if (const auto* set = std::get_if<SetXattrOp>(&mutation.op)) {
    TouchInode(set->ino);
  } else if (const auto* removed = std::get_if<RemoveXattrOp>(&mutation.op)) {
    TouchInode(removed->ino);
  } else if (const auto* touch = std::get_if<TouchOp>(&mutation.op)) {
    TouchNames(touch->ino);
  }
}

void BatchZones::Before(const Mutation& mutation) {
  moving_.clear();
  Visit(mutation);
  if (const auto* rename = std::get_if<RenameOp>(&mutation.op)) {
    TouchNamed(rename->old_parent, rename->old_name);
    TouchNamed(rename->new_parent, rename->new_name);
  }
}

void BatchZones::After(const Mutation& mutation) {
  if (!moving_.empty()) zones_.Forget();
  for (const auto& [directory, before] : moving_) {
    if (tree_.Find(directory) == nullptr) continue;
    const InodeNo now = zones_.OfNames(directory);
    Touch(now);
    if (now != before) moves_.emplace_back(before, now);
  }
  if (const auto* create = std::get_if<CreateOp>(&mutation.op)) {
    TouchInode(create->ino);
  } else if (const auto* link = std::get_if<LinkOp>(&mutation.op)) {
    TouchInode(link->ino);
  } else if (const auto* rename = std::get_if<RenameOp>(&mutation.op)) {
    const WorkspaceKey ws = tree_.workspace();
    for (const auto& [parent, name] : {std::pair(rename->new_parent, rename->new_name),
                                       std::pair(rename->old_parent, rename->old_name)}) {
      if (const auto ino = tree_.store().GetEntry(ws, parent, name)) TouchInode(*ino);
    }
  }
}

std::vector<InodeNo> BatchZones::Unregistered(const std::vector<InterestRecord>& interests,
                                              const SessionId& session) const {
  std::set<InodeNo> missing = touched_;
  for (const InterestRecord& interest : interests) {
    if (interest.session != session) continue;
    if (interest.zone == kAllZones) return {};
    missing.erase(interest.zone);
  }
  return {missing.begin(), missing.end()};
}

std::vector<InterestRecord> BatchZones::Carried(
    const std::vector<InterestRecord>& interests) const {
  std::vector<InterestRecord> all = interests;
  for (const auto& [from, to] : moves_) {
    for (size_t i = 0; i < all.size(); ++i) {
      if (all[i].zone != from || to == kRootInode) continue;
      const InterestRecord moved{all[i].workspace, all[i].session, to};
      if (std::find(all.begin(), all.end(), moved) == all.end()) all.push_back(moved);
    }
  }
  return {all.begin() + static_cast<ptrdiff_t>(interests.size()), all.end()};
}

std::vector<ChangeSet> BatchZones::Split(const ChangeSet& changes,
                                         const std::vector<InterestRecord>& interests,
                                         const SessionId& by) const {
  ChangeSet zoned, shared;
  for (const InodeNo ino : changes.inodes) {
    (shared_.contains(ino) ? shared : zoned).inodes.push_back(ino);
  }
  for (const ChangeSet::Name& name : changes.names) {
    (name.parent == kRootInode ? shared : zoned).names.push_back(name);
  }
  std::set<SessionId> concerned;
  for (const InterestRecord& interest : interests) {
    if (interest.session != by &&
        (interest.zone == kAllZones || touched_.contains(interest.zone))) {
      concerned.insert(interest.session);
    }
  }
  // A check of the store reads there what is changed, whether it concerns anybody or not.
  if (concerned.empty()) concerned.insert(by);
  zoned.only.assign(concerned.begin(), concerned.end());
  std::vector<ChangeSet> told;
  if (!zoned.empty()) told.push_back(std::move(zoned));
  if (!shared.empty()) told.push_back(std::move(shared));
  return told;
}

}  // namespace airstore::gateway
