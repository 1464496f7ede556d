// SPDX-License-Identifier: Apache-2.0
//
// Opens and releases: through the daemon or by the kernel itself (passthrough), whose maps outlive
// the opens.
#include <fcntl.h>
#include <spdlog/spdlog.h>

#include <atomic>

#include "broker/contents.h"

namespace airstore::broker {
namespace {

using shm::InodeRecord;

void Decrement(std::unordered_map<uint32_t, uint32_t>* counts, uint32_t mount) {
  const auto found = counts->find(mount);
  if (found == counts->end()) return;
  if (--found->second == 0) counts->erase(found);
}

bool ForWrite(uint32_t open_flags) { return (open_flags & O_ACCMODE) != O_RDONLY; }

}  // namespace

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
    if (record && record->content_kind == static_cast<uint32_t>(shm::ContentKind::kNone)) {
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

  bool passthrough = mount->passthrough() && node->file && complete && node->daemon_opens.empty();
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
    Charge(node);  // nobody looks at it any more
    Refresh(node->inode);
    Flush(node->inode);
    SetFlags(node->inode, 0, shm::kPassthroughOpen | shm::kPassthroughWriter);
    node->passthrough_used = false;
  }
  watched_.erase(node->inode);
  if (node->file && node->file->seal) Unseal(node);
  NoteClean(node);
  if (node->file && node->file->refused && !IsDirty(*node) && !log_->ContentPending(node->inode)) {
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

}  // namespace airstore::broker
