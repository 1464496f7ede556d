// SPDX-License-Identifier: Apache-2.0
//
// Open files.
#include <fcntl.h>

#include <span>

#include "frontends/fuse/fuse_request.h"
#include "frontends/fuse/ops.h"
#include "frontends/fuse/raw_requests.h"
#include "frontends/fuse/replies.h"

namespace airstore::fuse {
namespace {

using volume::OpenHandle;

constexpr uint32_t kDataOnly = 1;

// The kernel copies the bytes within the reply, while the volume keeps them in place.
class ReplySink final : public volume::ReadSink {
 public:
  explicit ReplySink(fuse_req_t req) : req_(req) {}
  void Deliver(const iovec* parts, int count) override { fuse_reply_iov(req_, parts, count); }

 private:
  fuse_req_t req_;
};

void Open(fuse_req_t req, fuse_ino_t inode, fuse_file_info* file) {
  FuseRequest request(req);
  volume::Opened opened;
  const auto flags = static_cast<uint32_t>(file->flags);
  const bool kill_set_id = Hints().kill_set_id || request.squashed();
  int error = request.Allowed([&](volume::Guard& guard) { return guard.Open(inode, flags); });
  if (error == 0) {
    error =
        request.volume().Open(request, inode, flags, &opened, kill_set_id ? shm::kKillSetId : 0u);
  }
  ReplyOpen(req, request, inode, error, opened);
}

void Create(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode,
            fuse_file_info* file) {
  FuseRequest request(req);
  volume::Node node;
  volume::Opened opened;
  const auto flags = static_cast<uint32_t>(file->flags);
  const bool nameless = Hints().tmpfile;
  int error = request.Allowed([&](volume::Guard& guard) {
    return guard.Create(parent, nameless ? "" : name, flags, &mode);
  });
  if (error == 0) {
    error = nameless ? request.volume().Tmpfile(request, parent, mode, flags, &node, &opened)
                     : request.volume().Create(request, parent, name, mode, flags, &node, &opened);
  }
  ReplyCreate(req, request, error, node, opened);
}

void Release(fuse_req_t req, fuse_ino_t inode, fuse_file_info* file) {
  FuseRequest request(req);
  request.volume().Release(request, inode, OpenHandle::Decode(file->fh));
  fuse_reply_err(req, 0);
}

void Read(fuse_req_t req, fuse_ino_t inode, size_t size, off_t offset, fuse_file_info* file) {
  FuseRequest request(req);
  ReplySink sink(req);
  request.volume().NoteRead(inode, OpenHandle::Decode(file->fh).index,
                            static_cast<uint32_t>(file->flags));
  const int error =
      request.volume().Read(request, inode, OpenHandle::Decode(file->fh),
                            static_cast<uint64_t>(offset), static_cast<uint32_t>(size), sink);
  if (error != 0) fuse_reply_err(req, error);
}

void Write(fuse_req_t req, fuse_ino_t inode, const char* data, size_t size, off_t offset,
           fuse_file_info* file) {
  FuseRequest request(req);
  volume::Volume& volume = request.volume();
  const auto at = static_cast<uint64_t>(offset);
  const std::span<const uint8_t> bytes{reinterpret_cast<const uint8_t*>(data), size};
  const OpenHandle handle = OpenHandle::Decode(file->fh);
  // What the kernel writes back for a map has a place of its own, whoever opened the file.
  const bool stored = file->writepage != 0;
  const bool append = (file->flags & O_APPEND) != 0 && !stored;
  // Where an append goes is the broker's to say: it is never in place.
  int error = volume.AwaitRoom(request, inode, append ? UINT64_MAX : at, size);
  if (error == 0 && (Hints().kill_set_id || request.squashed()))
    error = volume.KillSetId(request, inode);
  if (error == 0 && !stored) error = volume.KillCapabilities(request, inode);
  if (error == 0 && !stored && !append) {
    error = volume.AnnounceWrite(request, inode, handle, at, size);
  }
  if (error == 0) {
    const volume::Visible visible =
        stored ? volume::Visible::kLater : volume::VisibleThrough(handle);
    error = append ? volume.Append(request, inode, handle, at, bytes)
                   : volume.Write(inode, at, bytes, visible);
  }
  if (error == 0 && !stored && (file->flags & O_DSYNC) != 0) {
    error = volume.Fsync(request, inode, (file->flags & O_SYNC) == O_SYNC ? 0 : kDataOnly);
  }
  if (error != 0) {
    fuse_reply_err(req, error);
  } else {
    fuse_reply_write(req, size);
  }
}

void Flush(fuse_req_t req, fuse_ino_t inode, fuse_file_info* file) {
  FuseRequest request(req);
  fuse_reply_err(
      req, request.volume().Flush(request, inode, OpenHandle::Decode(file->fh), file->lock_owner));
}

void Fsync(fuse_req_t req, fuse_ino_t inode, int data_only, fuse_file_info* /*file*/) {
  FuseRequest request(req);
  fuse_reply_err(req, request.volume().Fsync(request, inode, data_only != 0 ? kDataOnly : 0));
}

void Fallocate(fuse_req_t req, fuse_ino_t inode, int mode, off_t offset, off_t length,
               fuse_file_info* /*file*/) {
  FuseRequest request(req);
  fuse_reply_err(req, request.volume().Fallocate(request, inode, static_cast<uint64_t>(offset),
                                                 static_cast<uint64_t>(length), mode));
}

void Lseek(fuse_req_t req, fuse_ino_t inode, off_t offset, int whence, fuse_file_info* /*file*/) {
  FuseRequest request(req);
  uint64_t found = 0;
  const int error =
      request.volume().Seek(request, inode, static_cast<uint64_t>(offset), whence, &found);
  if (error != 0) {
    fuse_reply_err(req, error);
  } else {
    fuse_reply_lseek(req, static_cast<off_t>(found));
  }
}

// The kernel does not say whether set-id bits are to go: they do, unless it is root who copies.
void CopyFileRange(fuse_req_t req, fuse_ino_t source, off_t source_offset,
                   fuse_file_info* /*source_file*/, fuse_ino_t target, off_t target_offset,
                   fuse_file_info* /*target_file*/, size_t length, int /*flags*/) {
  FuseRequest request(req);
  volume::Volume& volume = request.volume();
  uint64_t copied = 0;
  int error = fuse_req_ctx(req)->uid == 0 ? 0 : volume.KillSetId(request, target);
  if (error == 0) {
    error = volume.CopyRange(request,
                             {.source = source,
                              .source_offset = static_cast<uint64_t>(source_offset),
                              .target = target,
                              .target_offset = static_cast<uint64_t>(target_offset),
                              .length = length},
                             &copied);
  }
  if (error != 0) {
    fuse_reply_err(req, error);
  } else {
    fuse_reply_write(req, copied);
  }
}

}  // namespace

void AddFileOps(fuse_lowlevel_ops* ops) {
  ops->open = Open;
  ops->create = Create;
  ops->release = Release;
  ops->read = Read;
  ops->write = Write;
  ops->flush = Flush;
  ops->fsync = Fsync;
  ops->fallocate = Fallocate;
  ops->lseek = Lseek;
  ops->copy_file_range = CopyFileRange;
}

}  // namespace airstore::fuse
