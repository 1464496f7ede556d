// SPDX-License-Identifier: Apache-2.0
//
// Memory and descriptors that come over the channel while operations wait for them.
#include <algorithm>
#include <chrono>

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

int Volume::FetchContentFd(Request& request, const shm::InodeRecord& record, ContentFd* out) {
  *out = content_fds_.Get(record.content_file);
  if (*out != nullptr) return 0;
  // A miss is rare enough to pay for a look at all others: descriptors of content that is no longer
  // current keep deleted files on the disk.
  content_fds_.Sweep([this](uint64_t inode, uint64_t id) {
    shm::InodeRef found;
    return !reader_.FindInode(inode, &found) || found.record.content_file != id;
  });
  const auto reply = Call(request, Args(shm::Op::kContentFd, record.inode), Wait::kInterruptible);
  if (reply.error != 0) return reply.error;
  *out = content_fds_.Wait(reply.value, record.inode, kPatience);
  if (*out == nullptr) return EIO;
  // The content has moved while we asked: the caller's record is out of date.
  if (reply.value != record.content_file) *out = nullptr;
  return 0;
}

}  // namespace airstore::volume
