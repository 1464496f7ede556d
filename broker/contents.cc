// SPDX-License-Identifier: Apache-2.0
//
// What is known of the content of each file in use: its content file, and what of it is on record
// as unsent.
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <numeric>

#include "broker/clock.h"
#include "broker/contents.h"
#include "shm/base/fault.h"

namespace airstore::broker {
namespace {

using shm::ContentKind;
using shm::InodeRecord;

uint32_t Sum(const std::unordered_map<uint32_t, uint32_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), 0u,
                         [](uint32_t sum, const auto& entry) { return sum + entry.second; });
}

}  // namespace

uint32_t Contents::Node::writers() const { return Sum(passthrough_writers) + Sum(daemon_writers); }
uint32_t Contents::Node::opens() const { return Sum(passthrough_opens) + Sum(daemon_opens); }

Contents::Contents(boost::asio::any_io_executor executor, Tasks* tasks,
                   boost::asio::thread_pool* workers, InodeCache* inodes, Gateway* gateway,
                   MountSet* mounts, SessionJournal* journal, const ContentsOptions& options)
    : executor_(executor),
      tasks_(tasks),
      workers_(workers),
      inodes_(inodes),
      gateway_(gateway),
      mounts_(mounts),
      journal_(journal),
      options_(options),
      pool_(
          options.directory, options.first_file, options.first_id,
          [mounts](uint32_t mount, int32_t id) {
            if (MountPort* port = mounts->Find(mount)) port->BackingClose(id);
          },
          [journal](const ContentFile& file) {
            const AttachedRecord* entry = journal->contents().Find(file.inode);
            if (entry != nullptr && entry->id == file.id) {
              journal->Append(DetachedRecord{file.inode});
            }
          }),
      unsent_(options.budget),
      debounce_timer_(executor) {}

void Contents::Start() {
  while (pool_.Refill()) {
  }
}

void Contents::Stop() {
  stopped_ = true;
  watched_.clear();
  for (const uint64_t inode : std::vector<uint64_t>(sealed_.begin(), sealed_.end())) {
    if (const NodePtr node = Find(inode)) Unseal(node);
  }
  debounce_timer_.cancel();
}

Contents::NodePtr Contents::Find(uint64_t inode) const {
  const auto found = nodes_.find(inode);
  return found == nodes_.end() ? nullptr : found->second;
}

Contents::NodePtr Contents::Get(uint64_t inode) {
  NodePtr& node = nodes_[inode];
  if (!node) {
    node = std::make_shared<Node>();
    node->inode = inode;
    node->progress = std::make_unique<Event>(executor_);
  }
  return node;
}

void Contents::DropIfIdle(const NodePtr& node) {
  if (node->file || node->opens() != 0 || node->opening != 0 || node->loading_small) return;
  const auto found = nodes_.find(node->inode);
  if (found != nodes_.end() && found->second == node) nodes_.erase(found);
}

Result<void> Contents::AttachNew(uint64_t inode) {
  auto taken = TakeFile(inode);
  if (!taken) return taken.error();
  AIRSTORE_TRY(RecordFile(taken->get(), true, true));
  const NodePtr node = Get(inode);
  node->file = std::move(*taken);
  node->file->complete = true;
  node->file->never_sent = true;
  // The file was made ahead; what the kernel shows of it is to be as old as the name.
  if (const auto record = inodes_->Get(inode)) {
    node->file->base_version = record->content_version;
    const timespec times[2] = {ToTimespec(record->atime_ns), ToTimespec(record->mtime_ns)};
    futimens(node->file->fd(), times);
  }
  if (auto stamp = node->file->Stamp()) node->file->sent = *stamp;
  PublishFile(node);
  if (!refill_queued_) {
    refill_queued_ = true;
    tasks_->Spawn(Refill());
  }
  return {};
}

Task<void> Contents::Refill() {
  refill_queued_ = false;
  pool_.Refill();
  co_return;
}

void Contents::PublishFile(const NodePtr& node) {
  inodes_->DropSmall(node->inode);
  inodes_->Update(node->inode, [&](InodeRecord& record) {
    record.content_kind = static_cast<uint32_t>(ContentKind::kFile);
    record.content_file = node->file->id;
    ++record.content_generation;
    if (node->file->complete) {
      record.flags |= shm::kContentComplete;
    } else {
      record.flags &= ~static_cast<uint32_t>(shm::kContentComplete);
    }
  });
}

Result<void> Contents::RecordFile(ContentFile* file, bool complete, bool written) {
  AttachedRecord record;
  record.inode = file->inode;
  record.file = file->slot->number;
  record.id = file->id;
  record.complete = complete;
  record.never_sent = record.dirty = written;
  const auto inode = inodes_->Get(file->inode);
  record.orphan = inode && (inode->flags & shm::kOrphan) != 0;
  Reach(FaultPoint::kContentBeforeAttach);
  AIRSTORE_TRY(journal_->Append(record));
  Reach(FaultPoint::kContentAfterAttach);
  file->needed = written;
  if (written) maybe_dirty_.insert(file->inode);
  return {};
}

Result<void> Contents::NoteDirty(ContentFile* file) {
  if (file->needed) return {};
  journal_->Append(VersionRecord{file->inode, file->base_version});
  AIRSTORE_TRY(journal_->Append(DirtyRecord{file->inode}));
  Reach(FaultPoint::kContentAfterDirty);
  file->needed = true;
  maybe_dirty_.insert(file->inode);
  return {};
}

void Contents::NoteClean(const NodePtr& node) {
  if (!node->file || !node->file->needed || node->writers() != 0 || node->passthrough_used ||
      node->replacing || node->sending != 0 || log_->ContentPending(node->inode) ||
      IsDirty(*node)) {
    return;
  }
  Reach(FaultPoint::kContentBeforeClean);
  journal_->Append(CleanRecord{node->inode});
  Reach(FaultPoint::kContentAfterClean);
  node->file->needed = false;
  Released(node->file.get());
  maybe_dirty_.erase(node->inode);
}

void Contents::SetFlags(uint64_t inode, uint32_t set, uint32_t clear) {
  inodes_->Update(inode,
                  [&](InodeRecord& record) { record.flags = (record.flags | set) & ~clear; });
}

bool Contents::IsDirty(const Node& node) const {
  if (!node.file || node.replacing) return false;
  if (node.keeping || node.dirty_hint) return true;
  if ((node.file->never_sent || node.file->resend) && !node.file->refused) return true;
  const auto stamp = node.file->Stamp();
  if (!stamp) return true;
  return node.file->complete &&
         !(stamp->size == node.file->sent.size && stamp->mtime_ns == node.file->sent.mtime_ns &&
           stamp->ctime_ns == node.file->sent.ctime_ns);
}

int Contents::ContentFd(uint64_t inode, uint64_t* id) const {
  const NodePtr node = Find(inode);
  if (!node || !node->file) return -1;
  *id = node->file->id;
  return node->file->fd();
}

std::optional<FileEnd> Contents::End(uint64_t inode) const {
  const NodePtr node = Find(inode);
  const auto record = inodes_->Get(inode);
  if (!node || !node->file || !node->file->complete) return std::nullopt;
  if (!record || record->size == 0) return std::nullopt;
  FileEnd end{record->size, 0};
  const auto at = static_cast<off_t>(end.size - 1);
  if (pread(node->file->fd(), &end.last, 1, at) != 1) return std::nullopt;
  return end;
}

bool Contents::IsOpenInPart(uint64_t inode) const {
  if (!HasOpens(inode)) return false;
  const NodePtr node = Find(inode);
  if (node->file) return !node->file->complete;
  const auto record = inodes_->Get(inode);
  return record && record->size != 0 &&
         record->content_kind == static_cast<uint32_t>(shm::ContentKind::kNone);
}

bool Contents::HasOpens(uint64_t inode) const {
  const NodePtr node = Find(inode);
  return node && (node->opens() != 0 || node->opening != 0);
}

bool Contents::HasDaemonWriter(uint64_t inode, uint32_t mount) const {
  const NodePtr node = Find(inode);
  return node && node->daemon_writers.contains(mount);
}

bool Contents::HasWriter(uint64_t inode, uint32_t mount) const {
  const NodePtr node = Find(inode);
  return node &&
         (node->passthrough_writers.contains(mount) || node->daemon_writers.contains(mount));
}

void Contents::NotGone(uint64_t inode) {
  const NodePtr node = Find(inode);
  if (!node || !node->file) return;
  const AttachedRecord* const before = journal_->contents().Find(inode);
  if (before == nullptr) return;
  ContentFile& file = *node->file;
  file.needed = file.needed || IsDirty(*node);
  AttachedRecord record = *before;
  record.orphan = false;
  record.never_sent = file.never_sent && file.needed;
  record.dirty = file.needed;
  if (auto written = journal_->Append(record); !written) {
    spdlog::error("a file is not on record: {}", written.error().ToString());
  }
  journal_->Append(VersionRecord{inode, file.base_version});
  if (!file.needed) return;
  maybe_dirty_.insert(inode);
  Flush(inode);
}

void Contents::Destroy(uint64_t inode) {
  const NodePtr node = Find(inode);
  if (!node) return;
  LeaveLru(node);
  watched_.erase(inode);
  if (node->file) {
    node->file->needed = false;  // that its last name is gone is on record
    Released(node->file.get());
  }
  maybe_dirty_.erase(inode);
  LoseFile(node);
  node->progress->NotifyAll();
  nodes_.erase(inode);
}

}  // namespace airstore::broker
