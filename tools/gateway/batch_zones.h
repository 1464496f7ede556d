// SPDX-License-Identifier: Apache-2.0
//
// Which zones a batch touches, found out as it goes: whom it is in the way of, whom it concerns,
// and who has something of a directory that it moves from one zone to another.
//
// Threads: one at a time.
// Ownership: borrows the working tree.
#pragma once

#include <set>
#include <utility>
#include <vector>

#include "tools/gateway/working_tree.h"
#include "tools/gateway/zones.h"

namespace airstore::gateway {

class BatchZones {
 public:
  explicit BatchZones(WorkingTree& tree);

  // Around each mutation; behind it only if it was done.
  void Before(const Mutation& mutation);
  void After(const Mutation& mutation);

  // All but the root's.
  const std::set<InodeNo>& touched() const { return touched_; }
  // Zones between which directories were moved.
  const std::vector<std::pair<InodeNo, InodeNo>>& moves() const { return moves_; }

  // Those of `touched` that the session has not registered.
  std::vector<InodeNo> Unregistered(const std::vector<InterestRecord>& interests,
                                    const SessionId& session) const;
  // What was moved is of the other zone now, and so is the interest in it. Answers what is to be
  // added.
  std::vector<InterestRecord> Carried(const std::vector<InterestRecord>& interests) const;
  // The changes by whom they concern: in zones, those who have registered them; the root's zone,
  // everybody, which is the last one. Empty ones are left out.
  std::vector<ChangeSet> Split(const ChangeSet& changes,
                               const std::vector<InterestRecord>& interests,
                               const SessionId& by) const;

 private:
  void Touch(InodeNo zone) {
    if (zone != kRootInode) touched_.insert(zone);
  }
  void TouchNames(InodeNo directory);
  void TouchInode(InodeNo ino);
  void TouchNamed(InodeNo parent, std::string_view name);
  void Visit(const Mutation& mutation);

  WorkingTree& tree_;
  Zones zones_;
  std::set<InodeNo> touched_;
  std::set<InodeNo> shared_;                         // inodes of the root's zone, before or after
  std::vector<std::pair<InodeNo, InodeNo>> moving_;  // directories, and zones of what is in them
  std::vector<std::pair<InodeNo, InodeNo>> moves_;
};

}  // namespace airstore::gateway
