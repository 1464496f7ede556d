// SPDX-License-Identifier: Apache-2.0
//
// Content that another host has changed. A file that nobody here has open is dropped and comes
// again when it is read. One that the kernel holds (passthrough, maps) or that has a writer must
// stay the file it is: the new bytes are written into it.
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>

#include "broker/clock.h"
#include "broker/contents.h"

namespace airstore::broker {
namespace {

struct Written {
  int error = 0;
  std::vector<uint64_t> hashes;
  int64_t mtime_ns = 0;
};

// How the file looks when nobody but us writes into it.
int64_t ModifiedNs(int fd) {
  struct stat st {};
  return fstat(fd, &st) == 0 ? FromTimespec(st.st_mtim.tv_sec, st.st_mtim.tv_nsec) : 0;
}

// Puts fetched bytes where they belong. The hashes are of what was fetched: bytes that a local
// writer puts there meanwhile are to be found as a difference. `offset` is that of a block. Runs on
// a worker thread.
// EAGAIN: it is not as we left it at `left_ns`.
Written Overwrite(int fd, const std::vector<FetchedRange>& ranges, uint64_t offset, uint64_t length,
                  int64_t left_ns) {
  std::string bytes(length, '\0');
  for (const FetchedRange& range : ranges) {
    std::copy(range.data.begin(), range.data.end(),
              bytes.begin() + static_cast<ptrdiff_t>(range.offset - offset));
  }
  Written result;
  if (ModifiedNs(fd) != left_ns) {
    result.error = EAGAIN;
    return result;
  }
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t written =
        pwrite(fd, bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      result.error = written < 0 ? errno : ENOSPC;
      result.mtime_ns = ModifiedNs(fd);
      return result;
    }
    done += static_cast<size_t>(written);
  }
  result.mtime_ns = ModifiedNs(fd);
  for (uint64_t at = 0; at < length; at += kContentBlock) {
    result.hashes.push_back(XXH3_64bits(bytes.data() + at, std::min(kContentBlock, length - at)));
  }
  return result;
}

}  // namespace

bool Contents::IsDirty(uint64_t inode) const {
  const NodePtr node = Find(inode);
  const auto record = inodes_->Get(inode);
  return node && record && (record->flags & shm::kOrphan) == 0 && IsDirty(*node);
}

bool Contents::MayBeDirty(uint64_t inode) const {
  const NodePtr node = Find(inode);
  const auto record = inodes_->Get(inode);
  if (!node || !node->file || !record || (record->flags & shm::kOrphan) != 0) return false;
  return IsDirty(*node) || (record->flags & shm::kPassthroughWriter) != 0;
}

uint64_t Contents::ContentVersion(uint64_t inode) const {
  const NodePtr node = Find(inode);
  if (node && node->file) return node->file->base_version;
  const auto record = inodes_->Get(inode);
  return record ? record->content_version : 0;
}

bool Contents::MustMatch(uint64_t inode) const {
  const NodePtr node = Find(inode);
  return node && node->file && node->file->unsure;
}

void Contents::CutRefused(uint64_t inode) {
  if (const NodePtr node = Find(inode); node && node->file) node->file->other_cut = true;
}

void Contents::DoubtVersions() {
  for (const auto& [inode, node] : nodes_) {
    if (node->file) node->file->unsure = true;
  }
}

void Contents::ContentApplied(uint64_t inode, uint64_t content_version, bool matched) {
  const NodePtr node = Find(inode);
  if (node && node->file) {
    node->file->base_version = content_version;
    if (matched) node->file->unsure = false;
    // A version that is forgotten would make our next one look like another host's.
    if (sync_soon_) sync_soon_();
  }
  // Also of what is clean, or has its content file no more: a change of its size may be queued that
  // is made of this version.
  journal_->Append(VersionRecord{inode, content_version});
  inodes_->Update(inode,
                  [&](shm::InodeRecord& record) { record.content_version = content_version; });
}

void Contents::DropFile(const NodePtr& node) {
  LeaveLru(node);
  if (node->file && node->file->needed) {
    // It is clean, or it would not go: the journal must not take it for unsent.
    journal_->Append(CleanRecord{node->inode});
    node->file->needed = false;
    Released(node->file.get());
    maybe_dirty_.erase(node->inode);
  }
  LoseFile(node);
  node->replacing = false;
  node->left_ns = 0;
  inodes_->Update(node->inode, [](shm::InodeRecord& record) {
    record.content_kind = static_cast<uint32_t>(shm::ContentKind::kNone);
    record.content_file = 0;
    record.flags &= ~static_cast<uint32_t>(shm::kContentComplete);
    ++record.content_generation;
  });
  node->progress->NotifyAll();
  DropIfIdle(node);
}

Task<Result<void>> Contents::Replace(Attr attr) {
  const NodePtr node = Find(attr.inode);
  if (!node || !node->file) co_return Result<void>{};
  if (node->file->base_version == attr.content_version && !node->file->other_cut) {
    co_await AwaitUnsealed(node);
    if (node->file && node->file->complete) SetTimes(attr.inode, attr.atime_ns, attr.mtime_ns);
    co_return Result<void>{};
  }
  Result<void> done;
  if (node->file->complete && (node->passthrough_used || node->writers() != 0)) {
    if (node->replace_runs) {
      while (node->replace_runs) co_await node->progress->Wait();
      co_return Error{EAGAIN, "being replaced"};
    }
    node->replacing = node->replace_runs = true;
    ++node->opening;
    done = co_await ReplaceInPlace(node, attr);
    --node->opening;
    node->replace_runs = false;
    node->progress->NotifyAll();
    // Half of this and half of that is nothing to send, and is replaced at the next try.
    if (done || node->left_ns == 0) node->replacing = false;
  } else if (node->replacing && WrittenHere(*node)) {
    KeepMixture(node);
    co_return Error{EAGAIN, "written meanwhile"};
  } else {
    DropFile(node);
  }
  if (done && node->opens() != 0) {
    RemoteChanges pages;
    pages.data.push_back(attr.inode);
    for (const MountPort* mount : mounts_->all()) {
      tasks_->Spawn(mounts_->InvalidateAll(mount->index(), pages));
    }
  }
  DropIfIdle(node);
  co_return done;
}

Task<Result<void>> Contents::AwaitReplaced(uint64_t inode) {
  NodePtr node = Find(inode);
  while (node && node->replace_runs) {
    co_await node->progress->Wait();
    node = Find(inode);
  }
  if (!node || !node->replacing) co_return Result<void>{};
  co_return co_await refresh_stale_(inode);
}

// REQUIRES: it is being replaced. Since we last wrote into it.
bool Contents::WrittenHere(const Node& node) {
  return node.dirty_hint || (node.left_ns != 0 && ModifiedNs(node.file->fd()) != node.left_ns);
}

// Somebody here writes into what is being replaced. All of it is offered as made of the version
// before: the gateway refuses that, and lost+found has it.
void Contents::KeepMixture(const NodePtr& node) {
  node->replacing = false;
  node->left_ns = 0;
  node->file->never_sent = node->file->unsure = true;
  node->file->sent_hash.Forget();
}

Task<Result<void>> Contents::ReplaceInPlace(NodePtr node, Attr attr) {
  const std::shared_ptr<ContentFile> file = node->file;
  const int fd = file->fd();
  const auto keep = [&] {
    KeepMixture(node);
    return Error{EAGAIN, "written meanwhile"};
  };
  // What a program here has put there goes to lost+found, and nobody writes over it before.
  if (WrittenHere(*node)) co_return keep();
  co_await AwaitUnsealed(node);
  if (node->file != file) co_return Error{EAGAIN, "replaced"};
  if (WrittenHere(*node)) co_return keep();
  if (ftruncate(fd, static_cast<off_t>(attr.size)) != 0) {
    co_return SysError("resize content file " + file->slot->path);
  }
  ++file->truncations;
  node->left_ns = ModifiedNs(fd);
  std::vector<uint64_t> hashes;
  const uint64_t step =
      std::max<uint64_t>(1, limits_.max_fetch_bytes / kContentBlock) * kContentBlock;
  auto overwrite = [](int to, std::vector<FetchedRange> from, uint64_t offset, uint64_t length,
                      int64_t left_ns) -> Task<Written> {
    co_return Overwrite(to, from, offset, length, left_ns);
  };
  for (uint64_t offset = 0; offset < attr.size; offset += step) {
    const uint64_t length = std::min(step, attr.size - offset);
    auto fetched = co_await gateway_->Fetch(attr.inode, offset, length);
    if (!fetched) co_return fetched.error();
    if (fetched->content_version != attr.content_version) co_return Error{EAGAIN, "changed"};
    if (WrittenHere(*node)) co_return keep();
    const Written written = co_await boost::asio::co_spawn(
        workers_->get_executor(),
        overwrite(fd, std::move(fetched->ranges), offset, length, node->left_ns),
        boost::asio::use_awaitable);
    if (written.error == EAGAIN) co_return keep();
    node->left_ns = written.mtime_ns;
    if (written.error != 0) co_return Error{written.error, "write to content file"};
    hashes.insert(hashes.end(), written.hashes.begin(), written.hashes.end());
  }
  if (node->file != file) co_return Error{EAGAIN, "replaced"};
  if (WrittenHere(*node)) co_return keep();
  node->left_ns = 0;
  const timespec times[2] = {ToTimespec(attr.atime_ns), ToTimespec(attr.mtime_ns)};
  futimens(fd, times);
  if (auto stamp = file->Stamp()) file->sent = node->seen = *stamp;
  file->sent_hash = BlockHashes(hashes);
  file->base_version = attr.content_version;
  file->other_cut = false;
  file->unsure = false;
  journal_->Append(VersionRecord{attr.inode, attr.content_version});
  file->never_sent = file->resend = file->refused = false;
  if (auto stamp = file->Stamp()) file->settled_bytes = stamp->allocated_bytes;
  Charge(node);
  co_return Result<void>{};
}

}  // namespace airstore::broker
