// SPDX-License-Identifier: Apache-2.0
//
// Content files and opens of a dead broker. The journal says which file is whose, the table which
// of those were in use, the ledgers of the mounts who has what open. What was sent of a file is not
// known: one that may be dirty is sent again, as a whole.
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include "broker/clock.h"
#include "broker/content_upload.h"
#include "broker/contents.h"
#include "broker/session_journal.h"
#include "shm/request_rules.h"

namespace airstore::broker {

using shm::ContentKind;
using shm::InodeRecord;

Result<void> Contents::Adopt(const JournalState& state, bool written) {
  for (const auto& [inode, attached] : state.contents.entries()) {
    const auto record = inodes_->Get(inode);
    const bool in_use = record &&
                        record->content_kind == static_cast<uint32_t>(ContentKind::kFile) &&
                        record->content_file == attached.id;
    if (in_use && AdoptFile(attached, *record, written)) continue;
    if (attached.dirty && !attached.orphan && (!record || in_use)) {
      return Error{EPROTO, "unsent content of inode " + std::to_string(inode) +
                               " is not where it should be"};
    }
    journal_->Append(DetachedRecord{inode});
  }
  inodes_->EachInode([this](uint32_t index, InodeRecord record) {
    if (record.content_kind != static_cast<uint32_t>(ContentKind::kFile) || Find(record.inode)) {
      return;
    }
    record.content_kind = static_cast<uint32_t>(ContentKind::kNone);
    record.content_file = 0;
    record.flags &= ~static_cast<uint32_t>(shm::kContentComplete);
    ++record.content_generation;
    inodes_->meta().UpdateInode(index, record);
  });
  pool_.RemoveOthers();
  return {};
}

// False: the file is not there.
bool Contents::AdoptFile(const AttachedRecord& attached, const InodeRecord& record, bool written) {
  auto file = pool_.Adopt(attached.inode, attached.file, attached.id);
  const auto stamp = file->Stamp();
  if (!stamp) {
    spdlog::warn("content of inode {}: {}", attached.inode, stamp.error().ToString());
    file->needed = true;  // nothing is to be done with what is not there
    return false;
  }
  file->complete = (record.flags & shm::kContentComplete) != 0;
  file->needed = attached.dirty;
  file->never_sent = attached.never_sent;
  file->resend = attached.dirty;
  file->base_version = record.content_version;
  file->unsure = true;
  file->sent = *stamp;
  file->settled_bytes = attached.dirty ? 0 : stamp->allocated_bytes;
  const uint64_t blocks =
      BlocksOf(std::min(file->complete ? stamp->size : record.size, shm::kGreatestFile));
  file->sent_hash.Resize(blocks);
  if (file->complete) {
    file->sent_hash.Fill(kUnknownHash);  // nothing is known to be a hole there
  } else {
    file->valid.assign(blocks, false);
  }
  const NodePtr node = Get(attached.inode);
  node->file = std::move(file);
  node->seen = *stamp;
  node->passthrough_used = (record.flags & shm::kPassthroughOpen) != 0;
  // Of a file that is whole and was written, it is the file that tells.
  const bool resized = record.size != stamp->size;
  if (node->file->complete && attached.dirty && (written || resized)) {
    inodes_->Update(attached.inode, [&](InodeRecord& changed) {
      ++changed.content_generation;
      if (!resized) return;
      changed.size = stamp->size;
      changed.mtime_ns = stamp->mtime_ns;
    });
  }
  Charge(node);
  return true;
}

void Contents::AdoptOpens(uint32_t mount, uint64_t inode, const MountLedger::Opens& opens) {
  const NodePtr node = Get(inode);
  const auto set = [mount](std::unordered_map<uint32_t, uint32_t>* counts, uint32_t count) {
    if (count != 0) (*counts)[mount] = count;
  };
  set(&node->passthrough_opens, opens.passthrough);
  set(&node->passthrough_writers, opens.passthrough_writers);
  set(&node->daemon_opens, opens.daemon);
  set(&node->daemon_writers, opens.daemon_writers);
  if (opens.passthrough == 0) return;
  node->passthrough_used = true;
  SetFlags(inode,
           shm::kPassthroughOpen |
               (opens.passthrough_writers != 0 ? shm::kPassthroughWriter : shm::InodeFlags{}),
           0);
  if (node->file && opens.backing_id != 0) {
    node->file->slot->backing_ids.emplace_back(mount, opens.backing_id);
    node->file->slot->adopted_backings = true;
  }
}

void Contents::FinishAdoption() {
  std::vector<NodePtr> nodes;
  for (const auto& [inode, node] : nodes_) nodes.push_back(node);
  for (const NodePtr& node : nodes) {
    const auto record = inodes_->Get(node->inode);
    if (!record) {
      nodes_.erase(node->inode);
      continue;
    }
    if (node->file && node->file->needed) {
      node->dirty_since_ns = node->last_change_ns = MonotonicNs();
      Flush(node->inode);
    }
    if (node->file && node->writers() != 0) Watch(node);
    if (node->opens() != 0) continue;
    if (node->file && node->passthrough_used) (void)node->file->fd();  // to ask who else has it
    Closed(node);
  }
}

}  // namespace airstore::broker
