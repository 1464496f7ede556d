// SPDX-License-Identifier: Apache-2.0
//
// On which version of a file's content a change is made. What removes a file, or replaces it, is
// made on what the changes ahead of it leave of the file, and goes when those are answered.
#include <unordered_set>

#include "broker/mutation_log.h"

namespace airstore::broker {

uint64_t MutationLog::ContentOf(const Mutation& mutation) {
  if (const auto* write = std::get_if<WriteOp>(&mutation.op)) return write->inode;
  const auto* setattr = std::get_if<SetattrOp>(&mutation.op);
  return setattr != nullptr && setattr->size ? setattr->inode : 0;
}

uint64_t MutationLog::RemovedBy(const Mutation& mutation) {
  const bool takes_a_name = std::holds_alternative<UnlinkOp>(mutation.op) ||
                            std::holds_alternative<RenameOp>(mutation.op);
  return takes_a_name ? mutation.if_inode : 0;
}

void MutationLog::NoteRemoval(Ticket ticket, const Mutation& mutation, bool must_match) {
  const uint64_t inode = RemovedBy(mutation);
  if (inode == 0) return;
  removals_[inode] = {ticket, mutation.if_content_version, must_match};
}

bool MutationLog::MustMatch(uint64_t inode) const {
  const auto found = removals_.find(inode);
  return (found != removals_.end() && found->second.must_match) || contents_->MustMatch(inode);
}

bool MutationLog::EndsRun(uint64_t content, const Mutation& mutation, uint64_t lease,
                          std::unordered_set<uint64_t>* changed) const {
  const uint64_t inode = content != 0 ? content : RemovedBy(mutation);
  if (inode == 0) return false;
  const bool again = content != 0 ? !changed->insert(content).second : changed->contains(inode);
  return again && (lease == 0 || MustMatch(inode));
}

void MutationLog::SetPreconditions(std::vector<Mutation>* batch,
                                   const std::vector<uint64_t>& lease_of) const {
  std::unordered_set<uint64_t> changed;
  for (size_t i = 0; i < batch->size(); ++i) {
    Mutation& mutation = (*batch)[i];
    const uint64_t content = ContentOf(mutation);
    if (content != 0) changed.insert(content);
    if (lease_of[i] == 0 || MustMatch(content)) SetPrecondition(&mutation);
    const auto removal = removals_.find(RemovedBy(mutation));
    if (removal == removals_.end()) continue;
    // Under the lease nobody comes in between; without it that would be another run.
    const bool follows = lease_of[i] != 0 && changed.contains(removal->first);
    mutation.if_content_version = follows ? 0 : removal->second.version;
  }
}

void MutationLog::SetPrecondition(Mutation* mutation) const {
  const uint64_t inode = ContentOf(*mutation);
  if (inode == 0) return;
  // What has lost its name may be known here no more.
  const auto removal = removals_.find(inode);
  const uint64_t version =
      removal != removals_.end() ? removal->second.version : contents_->ContentVersion(inode);
  if (version == 0) return;  // what it was made of may be on record
  mutation->if_inode = inode;
  mutation->if_content_version = version;
}

void MutationLog::TakeVersions(const std::vector<Mutation>& batch,
                               const std::vector<MutationResult>& results) {
  for (const Mutation& mutation : batch) removals_.erase(RemovedBy(mutation));
  for (size_t i = 0; i < results.size(); ++i) {
    if (results[i].error != 0) continue;
    const auto* create = std::get_if<CreateOp>(&batch[i].op);
    const auto* touch = std::get_if<TouchOp>(&batch[i].op);
    // A touch that tells a version stands for content, which had been applied: see Restore.
    const uint64_t inode = create != nullptr  ? create->inode
                           : touch != nullptr ? touch->inode
                                              : ContentOf(batch[i]);
    const uint64_t version = results[i].content_version;
    if (inode == 0 || (version == 0 && touch != nullptr)) continue;
    const bool matched = batch[i].if_inode == inode;
    if (const auto removal = removals_.find(inode); removal != removals_.end()) {
      removal->second.version = version;
      if (matched) removal->second.must_match = false;
      // Before what is answered counts as settled: a successor would not ask for it again.
      journal_->Expect(removal->second.ticket, version);
    }
    // An answer without the question whether it is the version that we know may be an old one.
    if (version != 0) contents_->ContentApplied(inode, version, matched);
  }
}

}  // namespace airstore::broker
