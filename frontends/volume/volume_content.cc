// SPDX-License-Identifier: Apache-2.0
//
// Memory and descriptors that come over the channel while operations wait for them.
#include <fcntl.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "frontends/volume/volume.h"

namespace airstore::volume {
namespace {

// The broker sends what a record names before it publishes the record, or at once when asked.
constexpr std::chrono::milliseconds kPatience{5000};

shm::Extent ExtentOf(const shm::InodeRecord& record) {
  return {record.slab_index, record.extent_offset, record.extent_bytes};
}

}  // namespace

Result<void> Volume::OnSlab(uint32_t index, UniqueFd fd) {
  auto attached = slabs_.Attach(std::move(fd), index);
  { const std::lock_guard lock(slabs_mutex_); }  // between a waiter's look and its sleep
  slab_arrived_.notify_all();
  return attached;
}

bool Volume::WaitForSlab(const shm::InodeRecord& record) {
  std::unique_lock lock(slabs_mutex_);
  return slab_arrived_.wait_for(lock, kPatience,
                                [&] { return !slabs_.Bytes(ExtentOf(record)).empty(); });
}

// What waits in the lane waits on: the new broker has that lane too.
Result<void> Volume::OnReattach(UniqueFd meta, UniqueFd wake) {
  auto fresh =
      shm::Segment::Attach(std::move(meta), {shm::SegmentKind::kMeta, options_.session, 0}, false);
  if (!fresh) return Error(fresh.error());
  const auto view = shm::MetaView::Over(**fresh);
  if (!view) return Error(view.error());
  if (memcmp(&view->geometry(), &reader_.view().geometry(), sizeof(shm::MetaGeometry)) != 0) {
    return Error{EPROTO, "meta segment of another geometry"};
  }
  AIRSTORE_TRY(meta_->TakePlace(std::move(*fresh)));
  content_fds_.BeginEpoch();
  if (dup3(wake.get(), wake_.get(), O_CLOEXEC) < 0) return SysError("take over the eventfd");
  // A thread may have told the dead broker's eventfd of what it queued.
  const uint64_t one = 1;
  if (write(wake_.get(), &one, sizeof(one)) < 0 && errno != EAGAIN) return SysError("wake broker");
  return {};
}

int Volume::FetchContentFd(Request& request, const shm::InodeRecord& record, ContentFd* out) {
  *out = content_fds_.Get(record.content_file);
  if (*out != nullptr) return 0;
  // A miss is rare enough to pay for a look at all others: descriptors of content that is no longer
  // current keep deleted files on the disk.
  content_fds_.Sweep([this](uint64_t inode, uint64_t id) {
    shm::InodeRef found;
    return !reader_.FindInode(inode, &found) || found.record.content_file != id;
  });
  const uint64_t epoch = content_fds_.epoch();
  const auto reply = Call(request, Args(shm::Op::kContentFd, record.inode), Wait::kToTheEnd);
  // What nobody has open may have left its content file since the record was read.
  shm::InodeRef now;
  if (reply.error == ESTALE && reader_.FindInode(record.inode, &now) &&
      now.record.content_file != record.content_file) {
    return 0;
  }
  if (reply.error != 0) return reply.error;
  *out = content_fds_.Wait(reply.value, record.inode, epoch, kPatience);
  if (*out == nullptr) return content_fds_.epoch() == epoch ? EIO : 0;
  // The content has moved while we asked: the caller's record is out of date.
  if (reply.value != record.content_file) *out = nullptr;
  return 0;
}

}  // namespace airstore::volume
