// SPDX-License-Identifier: Apache-2.0
//
// Opens, releases, and the moves between slab and content file that they cause.
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <atomic>
#include <numeric>

#include "broker/clock.h"
#include "broker/content_upload.h"
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

void Decrement(std::unordered_map<uint32_t, uint32_t>* counts, uint32_t mount) {
  const auto found = counts->find(mount);
  if (found == counts->end()) return;
  if (--found->second == 0) counts->erase(found);
}

bool ForWrite(uint32_t open_flags) { return (open_flags & O_ACCMODE) != O_RDONLY; }

bool KindIs(const InodeRecord& record, ContentKind kind) {
  return record.content_kind == static_cast<uint32_t>(kind);
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
  nodes_.erase(node->inode);
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
      node->sending || log_->ContentPending(node->inode) || IsDirty(*node)) {
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

Result<OpenResult> Contents::OpenCreated(MountPort* mount, uint64_t inode, uint32_t flags) {
  return OpenNow(mount, Get(inode), ForWrite(flags), true);
}

Task<Result<OpenResult>> Contents::Open(MountPort* mount, uint64_t inode, uint32_t flags,
                                        bool passthrough) {
  const bool for_write = ForWrite(flags);
  co_await NotMoving(inode);
  const NodePtr node = Get(inode);
  ++node->opening;
  Result<void> ready;
  bool complete = false;
  if (for_write) {
    ready = co_await MakeWritable(node);
    complete = true;
  } else if (!node->file) {
    const auto record = inodes_->Get(inode);
    if (record && KindIs(*record, ContentKind::kNone)) {
      // The first block is wanted anyway, and for most files it is the whole file.
      ready = co_await EnsureRange(inode, 0, kContentBlock);
    }
  }
  --node->opening;
  if (!ready) {
    DropIfIdle(node);
    co_return ready.error();
  }
  if (node->file) complete = node->file->complete;
  auto opened = OpenNow(mount, node, for_write, complete && passthrough);
  DropIfIdle(node);
  co_return opened;
}

Result<OpenResult> Contents::OpenNow(MountPort* mount, const NodePtr& node, bool for_write,
                                     bool complete) {
  // The mount may have gone while content came: nobody would close this open.
  if (mounts_->Find(mount->index()) != mount) return Error{ENOTCONN, "the mount is gone"};
  const uint32_t index = inodes_->IndexOf(node->inode);
  if (index == shm::kNoIndex) return Error{ESTALE, "open of a file that is gone"};
  if (for_write) AIRSTORE_TRY(NoteDirty(node->file.get()));
  OpenResult result;

  bool passthrough = mount->passthrough() && node->file && complete && Sum(node->daemon_opens) == 0;
  // What the kernel writes is seen late: with little room left, new writers go through the daemon.
  if (for_write && !node->passthrough_used && !options_.budget->passthrough()) passthrough = false;
  if (passthrough) {
    // From here on no frontend opens the file by itself; those that just did are seen in the
    // counts (both sides store first and look second).
    SetFlags(node->inode, shm::kPassthroughOpen, 0);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    passthrough = !mounts_->AnyLocalOpens(index);
  }
  if (passthrough) {
    auto backing = BackingFor(mount, node->file.get());
    if (backing) {
      result.mode = shm::kOpenPassthrough;
      result.backing_id = *backing;
    } else {
      spdlog::warn("passthrough not possible, serving through the daemon: {}",
                   backing.error().ToString());
      passthrough = false;
    }
  }
  if (!passthrough && !node->passthrough_used) {
    SetFlags(node->inode, 0, shm::kPassthroughOpen);
  }
  const uint32_t index_of_mount = mount->index();
  if (passthrough) {
    node->passthrough_used = true;
    ++node->passthrough_opens[index_of_mount];
    if (for_write) {
      result.first_writer = ++node->passthrough_writers[index_of_mount] == 1;
      SetFlags(node->inode, shm::kPassthroughWriter, 0);
    }
  } else {
    ++node->daemon_opens[index_of_mount];
    if (for_write) ++node->daemon_writers[index_of_mount];
    // A writer whose pages are locked by the kernel while its write waits for the other mounts'
    // pages to go could meet another one doing the same: with several mounts writers keep no pages.
    // Neither may a reader keep pages of a file that the kernel writes behind our back; nor, with
    // several mounts, of one that grows: the page of its end would show zeros there until it goes.
    const shm::InodeRecord record = inodes_->meta().Inode(index);
    const bool keeps_pages = !(node->writers() != 0 && mounts_->size() > 1) &&
                             (record.flags & shm::kPassthroughWriter) == 0;
    result.mode = keeps_pages ? shm::kOpenCached : shm::kOpenDirect;
  }
  if (for_write) Watch(node);
  Touch(node);
  return result;
}

void Contents::Watch(const NodePtr& node) {
  if (watched_.insert(node->inode).second) {
    if (auto stamp = node->file->Stamp()) node->seen = *stamp;
  }
  if (debounce_running_) return;
  debounce_running_ = true;
  tasks_->Spawn(Debounce());
}

Result<int32_t> Contents::BackingFor(MountPort* mount, ContentFile* file) {
  for (const auto& [of_mount, id] : file->slot->backing_ids) {
    if (of_mount == mount->index()) return id;
  }
  auto id = mount->BackingOpen(file->fd());
  if (id) file->slot->backing_ids.emplace_back(mount->index(), *id);
  return id;
}

Task<Result<void>> Contents::MakeWritable(const NodePtr& node) {
  for (;;) {
    if (inodes_->IsStale(node->inode) && !node->file) {
      AIRSTORE_TRY_CO(co_await refresh_stale_(node->inode));
    }
    const auto record = inodes_->Get(node->inode);
    if (!record) co_return Error{ESTALE, "the file is gone"};
    if (node->file && node->file->complete) co_return Result<void>{};
    if (KindIs(*record, ContentKind::kSlab)) {
      AIRSTORE_TRY_CO(MoveToFile(node));
      continue;
    }
    // Writing into a file of which blocks are missing would need to know what was written where;
    // completing it first keeps one truth.
    const uint64_t size = record->size;
    AIRSTORE_TRY_CO(co_await EnsureRange(node->inode, 0, size == 0 ? 1 : size));
  }
}

Result<void> Contents::MoveToFile(const NodePtr& node) {
  const auto record = inodes_->Get(node->inode);
  auto taken = TakeFile(node->inode);
  if (!taken) return taken.error();
  ContentFile& file = **taken;
  if (record->extent_bytes != 0) {  // else there may be no slab at all
    const auto bytes = inodes_->slabs().Bytes(
        shm::Extent{record->slab_index, record->extent_offset, record->extent_bytes});
    const ssize_t written = pwrite(file.fd(), bytes.data(), bytes.size(), 0);
    if (written != static_cast<ssize_t>(bytes.size())) {
      return SysError("write to content file " + file.slot->path, written < 0 ? errno : ENOSPC);
    }
    file.sent_hash.assign(1, XXH3_64bits(bytes.data(), bytes.size()));
  }
  const timespec times[2] = {ToTimespec(record->atime_ns), ToTimespec(record->mtime_ns)};
  futimens(file.fd(), times);
  AIRSTORE_TRY(RecordFile(&file, true, false));
  file.complete = true;
  file.base_version = record->content_version;
  auto stamp = file.Stamp();
  if (!stamp) return stamp.error();
  file.sent = *stamp;
  file.settled_bytes = stamp->allocated_bytes;
  Reach(FaultPoint::kContentFromSlab);
  node->file = std::move(*taken);
  PublishFile(node);
  return {};
}

void Contents::MoveToSlab(const NodePtr& node) {
  const auto record = inodes_->Get(node->inode);
  if (!record || !node->file || !node->file->complete || node->opens() != 0 || node->opening != 0 ||
      node->passthrough_used || node->sending || node->replacing || node->keeping ||
      node->file->refused || record->size > kSmallFile || IsDirty(*node) ||
      log_->PendingOf(node->inode) != 0 || (record->flags & shm::kOrphan) != 0) {
    return;
  }
  std::string content(record->size, '\0');
  const ssize_t got = pread(node->file->fd(), content.data(), content.size(), 0);
  if (got != static_cast<ssize_t>(content.size())) return;
  if (!inodes_->StoreSmall(node->inode,
                           {reinterpret_cast<const uint8_t*>(content.data()), content.size()})) {
    return;
  }
  Reach(FaultPoint::kContentToSlab);
  LeaveLru(node);
  LoseFile(node);
  DropIfIdle(node);
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

void Contents::Release(uint64_t inode, uint32_t mount, uint32_t mode_flags) {
  const NodePtr node = Find(inode);
  if (!node) return;
  const bool writer = (mode_flags & shm::kOpenForWrite) != 0;
  if ((mode_flags & shm::kOpenModeMask) == shm::kOpenPassthrough) {
    Decrement(&node->passthrough_opens, mount);
    if (writer) Decrement(&node->passthrough_writers, mount);
  } else {
    Decrement(&node->daemon_opens, mount);
    if (writer) Decrement(&node->daemon_writers, mount);
  }
  if (writer) WriterGone(node);
  if (node->opens() == 0) Closed(node);
}

void Contents::WriterGone(const NodePtr& node) {
  Refresh(node->inode);
  Flush(node->inode);
}

// The last open is gone. Maps may be left of passthrough opens: until they are, the file stays what
// it was, and is looked at from time to time.
void Contents::Closed(const NodePtr& node) {
  if (node->file) pool_.DropAdoptedBackings(node->file->slot);
  if (node->file && node->passthrough_used && node->file->HeldElsewhere()) {
    Watch(node);
    return;
  }
  if (node->passthrough_used) {
    Refresh(node->inode);
    Flush(node->inode);
    SetFlags(node->inode, 0, shm::kPassthroughOpen | shm::kPassthroughWriter);
    node->passthrough_used = false;
  }
  watched_.erase(node->inode);
  if (node->file && node->file->sealed) Unseal(node);
  NoteClean(node);
  if (node->file && node->file->refused && !IsDirty(*node)) {
    DropRefused(node);
    return;
  }
  MoveToSlab(node);
  if (Find(node->inode) == node) Touch(node);
  DropIfIdle(node);
}

void Contents::ReleaseMount(uint32_t mount) {
  std::vector<NodePtr> affected;
  for (const auto& [inode, node] : nodes_) {
    if (node->passthrough_opens.contains(mount) || node->daemon_opens.contains(mount)) {
      affected.push_back(node);
    }
  }
  for (const NodePtr& node : affected) {
    const bool wrote =
        node->passthrough_writers.erase(mount) + node->daemon_writers.erase(mount) != 0;
    node->passthrough_opens.erase(mount);
    node->daemon_opens.erase(mount);
    if (wrote) WriterGone(node);
    if (node->opens() == 0) Closed(node);
  }
  pool_.ForgetMount(mount);
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

Result<void> Contents::Write(uint64_t inode, uint64_t offset, std::span<const uint8_t> data,
                             int64_t time_ns) {
  const NodePtr node = Find(inode);
  if (!node || !node->file || !node->file->complete || node->daemon_writers.empty()) {
    return Error{EIO, "write to a file that is not open for writing"};
  }
  Reach(FaultPoint::kContentBeforeWrite);
  size_t done = 0;
  while (done < data.size()) {
    const ssize_t written = pwrite(node->file->fd(), data.data() + done, data.size() - done,
                                   static_cast<off_t>(offset + done));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      const int code = written < 0 ? errno : ENOSPC;
      if (code == ENOSPC || code == EDQUOT) {
        if (MakeRoom(data.size() - done)) continue;
        return Error{ENOSPC, "write to content file " + node->file->slot->path};
      }
      inodes_->Update(
          inode, [&](InodeRecord& record) { record.write_error = static_cast<uint32_t>(code); });
      return SysError("write to content file", code);
    }
    done += static_cast<size_t>(written);
  }
  Reach(FaultPoint::kContentAfterWrite);
  const uint64_t allocated = Charge(node);
  inodes_->Update(inode, [&](InodeRecord& record) {
    record.size = std::max(record.size, offset + data.size());
    record.allocated_bytes = allocated;
    record.mtime_ns = time_ns;
    record.ctime_ns = time_ns;
    ++record.content_generation;
  });
  if (offset + data.size() >= node->append_end) AppendDone(node);
  node->dirty_hint = true;
  node->last_change_ns = MonotonicNs();
  if (node->dirty_since_ns == 0) node->dirty_since_ns = node->last_change_ns;
  return {};
}

Task<Result<void>> Contents::Truncate(uint64_t inode, uint64_t size) {
  co_await NotMoving(inode);
  const NodePtr node = Get(inode);
  ++node->opening;
  Result<void> result;
  const bool was_dirty = IsDirty(*node);
  uint64_t allocated = 0;
  if (size == 0 && !node->file) {
    const std::span<const uint8_t> empty;
    result = inodes_->StoreSmall(inode, empty);
  } else if (size == 0 && !node->file->complete) {
    // Blocks on their way belong to the old file: they end up in it and go with it.
    LoseFile(node);
    result = inodes_->StoreSmall(inode, std::span<const uint8_t>());
    node->progress->NotifyAll();
  } else {
    result = co_await MakeWritable(node);
    if (result) Unseal(node);
    Reach(FaultPoint::kContentBeforeTruncate);
    if (result && ftruncate(node->file->fd(), static_cast<off_t>(size)) != 0) {
      result = SysError("truncate content file");
    }
    Reach(FaultPoint::kContentAfterTruncate);
    if (result) {
      ContentFile& file = *node->file;
      ++file.truncations;
      if (file.sent_hash.size() > BlocksOf(size)) file.sent_hash.resize(BlocksOf(size));
      // The last block changed; the gateway cuts or fills it the same way, so only its hash is new.
      if (!file.sent_hash.empty()) file.sent_hash.back() = kUnknownHash;
      if (auto stamp = file.Stamp()) {
        if (!was_dirty) file.sent = *stamp;
        allocated = stamp->allocated_bytes;
      }
      Charge(node);
    }
  }
  --node->opening;
  if (result) {
    AppendDone(node);
    inodes_->Update(inode, [&](InodeRecord& changed) {
      changed.size = size;
      changed.allocated_bytes = allocated;
      ++changed.content_generation;
    });
  }
  if (Find(inode) == node) Touch(node);
  DropIfIdle(node);
  co_return result;
}

void Contents::SetTimes(uint64_t inode, int64_t atime_ns, int64_t mtime_ns) {
  SetFileTimes(inode, ToTimespec(atime_ns), ToTimespec(mtime_ns));
}

void Contents::ShowUnread(uint64_t inode, int64_t atime_ns) {
  SetFileTimes(inode, ToTimespec(atime_ns), {0, UTIME_OMIT});
}

void Contents::SetFileTimes(uint64_t inode, timespec atime, timespec mtime) {
  const NodePtr node = Find(inode);
  if (!node || !node->file) return;
  const bool dirty = IsDirty(*node);
  const timespec times[2] = {atime, mtime};
  Unseal(node);
  futimens(node->file->fd(), times);
  if (dirty) return;
  if (auto stamp = node->file->Stamp()) node->file->sent = *stamp;
}

int64_t Contents::AccessTime(uint64_t inode, uint32_t mount) {
  const NodePtr node = Find(inode);
  if (!node || !node->file || !node->passthrough_opens.contains(mount)) return 0;
  struct stat st {};
  if (fstat(node->file->fd(), &st) != 0) return 0;
  return int64_t{st.st_atim.tv_sec} * 1'000'000'000 + st.st_atim.tv_nsec;
}

void Contents::Refresh(uint64_t inode) {
  const NodePtr node = Find(inode);
  if (!node || !node->file || !node->file->complete) return;
  const auto stamp = node->file->Stamp();
  if (!stamp) return;
  inodes_->Update(inode, [&](InodeRecord& record) {
    if ((record.flags & shm::kPassthroughWriter) == 0) return;
    if (record.size != stamp->size || record.mtime_ns != stamp->mtime_ns) {
      record.ctime_ns = std::max(record.ctime_ns, stamp->mtime_ns);
      ++record.content_generation;
    }
    record.size = stamp->size;
    record.mtime_ns = stamp->mtime_ns;
    record.allocated_bytes = stamp->allocated_bytes;
  });
}

void Contents::Touch(const NodePtr& node) {
  LeaveLru(node);
  if (!node->file || node->opens() != 0 || node->passthrough_used) return;
  const auto record = inodes_->Get(node->inode);
  node->lru = lru_.insert(lru_.end(), node->inode);
  node->in_lru = true;
  node->lru_bytes = record ? record->size : 0;
  lru_bytes_ += node->lru_bytes;
  if (lru_bytes_ > options_.limit_bytes) Evict();
}

void Contents::LeaveLru(const NodePtr& node) {
  if (!node->in_lru) return;
  lru_.erase(node->lru);
  lru_bytes_ -= node->lru_bytes;
  node->in_lru = false;
}

void Contents::ParkSome() {
  constexpr size_t kParkAtOnce = 1024;  // so that the walk over those already parked is rare
  size_t parked = 0;
  for (auto at = lru_.begin(); at != lru_.end() && parked < kParkAtOnce; ++at) {
    const NodePtr node = Find(*at);
    if (!node || !node->file || !node->file->slot->fd || node->opening != 0 || node->sending ||
        !node->file->fetching.empty()) {
      continue;
    }
    pool_.Park(node->file->slot);
    ++parked;
  }
}

Result<std::shared_ptr<ContentFile>> Contents::TakeFile(uint64_t inode) {
  if (pool_.crowded()) ParkSome();
  return pool_.Take(inode);
}

bool Contents::MayLetGo(const NodePtr& node) const {
  return node->opens() == 0 && node->opening == 0 && !node->sending && !node->loading_small &&
         !node->replacing && !node->passthrough_used &&
         (!node->file || node->file->fetching.empty()) && !IsDirty(*node) &&
         log_->PendingOf(node->inode) == 0;
}

void Contents::LetGo(const NodePtr& node) {
  NoteClean(node);
  LeaveLru(node);
  inodes_->Update(node->inode, [](InodeRecord& record) {
    record.content_kind = static_cast<uint32_t>(ContentKind::kNone);
    record.content_file = 0;
    record.flags &= ~static_cast<uint32_t>(shm::kContentComplete);
  });
  LoseFile(node);
  DropIfIdle(node);
}

bool Contents::LetGo(uint64_t inode) {
  const NodePtr node = Find(inode);
  if (!node) return true;
  if (!MayLetGo(node)) return false;
  LetGo(node);
  return true;
}

void Contents::Evict() {
  auto candidate = lru_.begin();
  while (lru_bytes_ > options_.limit_bytes && candidate != lru_.end()) EvictOne(*candidate++);
}

bool Contents::HasOpens(uint64_t inode) const {
  const NodePtr node = Find(inode);
  return node && (node->opens() != 0 || node->opening != 0);
}

bool Contents::HasWriter(uint64_t inode, uint32_t mount) const {
  const NodePtr node = Find(inode);
  return node &&
         (node->passthrough_writers.contains(mount) || node->daemon_writers.contains(mount));
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
