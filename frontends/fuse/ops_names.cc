// SPDX-License-Identifier: Apache-2.0
//
// Names and attributes.
#include <string>

#include "frontends/fuse/fuse_request.h"
#include "frontends/fuse/ops.h"
#include "frontends/fuse/raw_requests.h"
#include "frontends/fuse/replies.h"
#include "shm/base/file_clock.h"

namespace airstore::fuse {
namespace {

void Lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
  FuseRequest request(req);
  volume::Node node;
  int error = request.Allowed(
      [&](volume::Guard& guard) { return guard.Access(parent, volume::kMayExecute); });
  if (error == 0) error = request.volume().Lookup(request, parent, name, &node);
  if (error == ENOENT) {
    ReplyAbsent(req, node.entry_seconds);
  } else {
    ReplyNode(req, request.volume(), error, node);
  }
}

void Forget(fuse_req_t req, fuse_ino_t inode, uint64_t count) {
  FuseRequest(req).volume().Forget(inode, count);
  fuse_reply_none(req);
}

void ForgetMulti(fuse_req_t req, size_t count, fuse_forget_data* forgets) {
  volume::Volume& volume = FuseRequest(req).volume();
  for (size_t i = 0; i < count; ++i) volume.Forget(forgets[i].ino, forgets[i].nlookup);
  fuse_reply_none(req);
}

void Getattr(fuse_req_t req, fuse_ino_t inode, fuse_file_info* /*file*/) {
  FuseRequest request(req);
  volume::Node node;
  const int error = request.volume().Getattr(request, inode, &node);
  if (Hints().statx) {
    ReplyStatx(req, error, node);
  } else {
    ReplyAttr(req, error, node);
  }
}

int64_t NanosecondsOf(const timespec& time) {
  return shm::NanosecondsOf(time.tv_sec, time.tv_nsec);
}

volume::SetattrArgs SetattrArgsOf(const struct stat& attr, int to_set) {
  static constexpr struct {
    int fuse;
    uint32_t ours;
  } kBits[] = {
      {FUSE_SET_ATTR_MODE, shm::kSetMode},       {FUSE_SET_ATTR_UID, shm::kSetUid},
      {FUSE_SET_ATTR_GID, shm::kSetGid},         {FUSE_SET_ATTR_SIZE, shm::kSetSize},
      {FUSE_SET_ATTR_ATIME, shm::kSetAtime},     {FUSE_SET_ATTR_MTIME, shm::kSetMtime},
      {FUSE_SET_ATTR_ATIME_NOW, shm::kSetAtime}, {FUSE_SET_ATTR_MTIME_NOW, shm::kSetMtime},
      {FUSE_SET_ATTR_CTIME, shm::kSetCtime},
  };
  volume::SetattrArgs values;
  for (const auto& bit : kBits) {
    if ((to_set & bit.fuse) != 0) values.valid |= bit.ours;
  }
  values.mode = attr.st_mode;
  values.uid = attr.st_uid;
  values.gid = attr.st_gid;
  values.size = static_cast<uint64_t>(attr.st_size);
  constexpr int kNow = FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW;
  const int64_t now = (to_set & kNow) != 0 ? shm::FileClockNs() : 0;
  values.atime_ns = (to_set & FUSE_SET_ATTR_ATIME_NOW) != 0 ? now : NanosecondsOf(attr.st_atim);
  values.mtime_ns = (to_set & FUSE_SET_ATTR_MTIME_NOW) != 0 ? now : NanosecondsOf(attr.st_mtim);
  return values;
}

void Setattr(fuse_req_t req, fuse_ino_t inode, struct stat* attr, int to_set,
             fuse_file_info* file) {
  constexpr int kBothNow = FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW;
  FuseRequest request(req);
  volume::Node node;
  volume::SetattrArgs values = SetattrArgsOf(*attr, to_set);
  // The kernel's way to say that a write, or a change of owner that changes none, takes set-id bits
  // away: it sets nothing.
  if (Hints().kill_set_id || values.valid == 0) values.valid |= shm::kKillSetId;
  int error = request.Allowed([&](volume::Guard& guard) {
    return guard.Setattr(inode, &values, (to_set & kBothNow) == kBothNow, file != nullptr);
  });
  if (error == 0) error = request.volume().Setattr(request, inode, values, &node);
  ReplyAttr(req, error, node);
}

// Asked where the kernel checks nothing: for access(2), and to enter a directory.
void Access(fuse_req_t req, fuse_ino_t inode, int wanted) {
  FuseRequest request(req);
  fuse_reply_err(req, request.Allowed([&](volume::Guard& guard) {
    return guard.Access(inode, static_cast<uint32_t>(wanted));
  }));
}

void Readlink(fuse_req_t req, fuse_ino_t inode) {
  FuseRequest request(req);
  std::string target;
  if (const int error = request.volume().Readlink(request, inode, &target); error != 0) {
    fuse_reply_err(req, error);
  } else {
    fuse_reply_readlink(req, target.c_str());
  }
}

void Mknod(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, dev_t rdev) {
  FuseRequest request(req);
  volume::Node node;
  int error =
      request.Allowed([&](volume::Guard& guard) { return guard.Make(parent, rdev, &mode); });
  if (error == 0) error = request.volume().Mknod(request, parent, name, mode, rdev, &node);
  ReplyNode(req, request.volume(), error, node);
}

void Mkdir(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode) {
  FuseRequest request(req);
  volume::Node node;
  int error = request.Allowed([&](volume::Guard& guard) { return guard.MakeName(parent); });
  if (error == 0) error = request.volume().Mkdir(request, parent, name, mode, &node);
  ReplyNode(req, request.volume(), error, node);
}

void Symlink(fuse_req_t req, const char* target, fuse_ino_t parent, const char* name) {
  FuseRequest request(req);
  volume::Node node;
  int error = request.Allowed([&](volume::Guard& guard) { return guard.MakeName(parent); });
  if (error == 0) error = request.volume().Symlink(request, parent, name, target, &node);
  ReplyNode(req, request.volume(), error, node);
}

void Link(fuse_req_t req, fuse_ino_t inode, fuse_ino_t parent, const char* name) {
  FuseRequest request(req);
  volume::Node node;
  int error = request.Allowed([&](volume::Guard& guard) { return guard.MakeName(parent); });
  if (error == 0) error = request.volume().Link(request, inode, parent, name, &node);
  ReplyNode(req, request.volume(), error, node);
}

void Unlink(fuse_req_t req, fuse_ino_t parent, const char* name) {
  FuseRequest request(req);
  int error = request.Allowed([&](volume::Guard& guard) { return guard.Remove(parent, name); });
  if (error == 0) error = request.volume().Unlink(request, parent, name);
  fuse_reply_err(req, error);
}

void Rmdir(fuse_req_t req, fuse_ino_t parent, const char* name) {
  FuseRequest request(req);
  int error = request.Allowed([&](volume::Guard& guard) { return guard.Remove(parent, name); });
  if (error == 0) error = request.volume().Rmdir(request, parent, name);
  fuse_reply_err(req, error);
}

void Rename(fuse_req_t req, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
            const char* new_name, unsigned flags) {
  FuseRequest request(req);
  int error = request.Allowed([&](volume::Guard& guard) {
    return guard.Rename(parent, name, new_parent, new_name, flags);
  });
  if (error == 0) {
    error = request.volume().Rename(request, parent, name, new_parent, new_name, flags);
  }
  fuse_reply_err(req, error);
}

void Statfs(fuse_req_t req, fuse_ino_t /*inode*/) {
  FuseRequest request(req);
  volume::Statfs values;
  if (const int error = request.volume().GetStatfs(request, &values); error != 0) {
    fuse_reply_err(req, error);
    return;
  }
  const uint64_t block = values.block_bytes != 0 ? values.block_bytes : 4096;
  struct statvfs out {};
  out.f_bsize = block;
  out.f_frsize = block;
  out.f_blocks = values.total_bytes / block;
  out.f_bfree = values.free_bytes / block;
  out.f_bavail = out.f_bfree;
  out.f_files = values.total_inodes;
  out.f_ffree = values.free_inodes;
  out.f_favail = values.free_inodes;
  out.f_namemax = shm::kMaxName;
  fuse_reply_statfs(req, &out);
}

}  // namespace

void AddNameOps(fuse_lowlevel_ops* ops) {
  ops->lookup = Lookup;
  ops->forget = Forget;
  ops->forget_multi = ForgetMulti;
  ops->getattr = Getattr;
  ops->setattr = Setattr;
  ops->access = Access;
  ops->readlink = Readlink;
  ops->mknod = Mknod;
  ops->mkdir = Mkdir;
  ops->symlink = Symlink;
  ops->link = Link;
  ops->unlink = Unlink;
  ops->rmdir = Rmdir;
  ops->rename = Rename;
  ops->statfs = Statfs;
}

}  // namespace airstore::fuse
