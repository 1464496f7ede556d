// SPDX-License-Identifier: Apache-2.0
#include "frontends/fuse/replies.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace airstore::fuse {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr uint32_t kBlockBytes = 4096;

// Times before 1970 have a negative count of seconds and a positive rest.
timespec TimeOf(int64_t ns) {
  int64_t seconds = ns / kSecond;
  int64_t rest = ns % kSecond;
  if (rest < 0) {
    --seconds;
    rest += kSecond;
  }
  return {seconds, static_cast<long>(rest)};
}

}  // namespace

struct stat StatOf(const shm::InodeRecord& record) {
  struct stat st {};
  st.st_ino = record.inode;
  st.st_mode = record.mode;
  st.st_nlink = record.nlink;
  st.st_uid = record.uid;
  st.st_gid = record.gid;
  st.st_rdev = record.rdev;
  st.st_size = static_cast<off_t>(record.size);
  // Whole blocks, as a local file system counts them.
  st.st_blocks = static_cast<blkcnt_t>((record.allocated_bytes + kBlockBytes - 1) / kBlockBytes *
                                       (kBlockBytes / 512));
  st.st_blksize = kBlockBytes;
  st.st_atim = TimeOf(record.atime_ns);
  st.st_mtim = TimeOf(record.mtime_ns);
  st.st_ctim = TimeOf(record.ctime_ns);
  return st;
}

fuse_entry_param EntryOf(const volume::Node& node) {
  fuse_entry_param entry{};
  entry.ino = node.record.inode;
  entry.generation = node.record.generation;
  entry.attr = StatOf(node.record);
  entry.attr_timeout = node.attr_seconds;
  entry.entry_timeout = node.entry_seconds;
  return entry;
}

abi::EntryOut RawEntryOf(const volume::Node& node) {
  const struct stat st = StatOf(node.record);
  abi::EntryOut out{};
  out.nodeid = node.record.inode;
  out.generation = node.record.generation;
  out.entry_valid = node.entry_seconds;
  out.attr_valid = node.attr_seconds;
  abi::Attr& attr = out.attr;
  attr.ino = st.st_ino;
  attr.size = static_cast<uint64_t>(st.st_size);
  attr.blocks = static_cast<uint64_t>(st.st_blocks);
  attr.atime = static_cast<uint64_t>(st.st_atim.tv_sec);
  attr.mtime = static_cast<uint64_t>(st.st_mtim.tv_sec);
  attr.ctime = static_cast<uint64_t>(st.st_ctim.tv_sec);
  attr.atimensec = static_cast<uint32_t>(st.st_atim.tv_nsec);
  attr.mtimensec = static_cast<uint32_t>(st.st_mtim.tv_nsec);
  attr.ctimensec = static_cast<uint32_t>(st.st_ctim.tv_nsec);
  attr.mode = st.st_mode;
  attr.nlink = static_cast<uint32_t>(st.st_nlink);
  attr.uid = st.st_uid;
  attr.gid = st.st_gid;
  attr.rdev = static_cast<uint32_t>(st.st_rdev);
  attr.blksize = kBlockBytes;
  return out;
}

abi::OpenOut RawOpenOf(const volume::Opened& opened) {
  abi::OpenOut out{opened.handle.Encode(), 0, 0};
  switch (opened.handle.path()) {
    case shm::kOpenPassthrough:
      out.open_flags = abi::kFopenPassthrough;
      // Reads and writes come to us, maps stay the kernel's.
      if (opened.through_daemon) {
        out.open_flags |= abi::kFopenDirectIo | abi::kFopenParallelDirectWrites;
      }
      out.backing_id = opened.backing_id;
      break;
    case shm::kOpenDirect:
      out.open_flags = abi::kFopenDirectIo | abi::kFopenParallelDirectWrites;
      break;
    default:
      out.open_flags = opened.keep_cache ? abi::kFopenKeepCache : 0;
      break;
  }
  // Closing a file that was only read has nothing to report: saves a request per close.
  if (!opened.tell_close) out.open_flags |= abi::kFopenNoFlush;
  return out;
}

void ReplyNode(fuse_req_t req, volume::Volume& volume, int error, const volume::Node& node) {
  if (error != 0) {
    fuse_reply_err(req, error);
    return;
  }
  const fuse_entry_param entry = EntryOf(node);
  if (fuse_reply_entry(req, &entry) != 0) volume.Forget(node.record.inode, 1);
}

void ReplyAttr(fuse_req_t req, int error, const volume::Node& node) {
  if (error != 0) {
    fuse_reply_err(req, error);
    return;
  }
  const struct stat st = StatOf(node.record);
  fuse_reply_attr(req, &st, node.attr_seconds);
}

void ReplyStatx(fuse_req_t req, int error, const volume::Node& node) {
  if (error != 0) {
    fuse_reply_err(req, error);
    return;
  }
  const struct stat st = StatOf(node.record);
  const auto time = [](const timespec& t) {
    return abi::StatxTime{t.tv_sec, static_cast<uint32_t>(t.tv_nsec), 0};
  };
  abi::StatxOut out{};
  out.attr_valid = node.attr_seconds;
  out.mask = STATX_BASIC_STATS | STATX_BTIME;
  out.blksize = kBlockBytes;
  out.nlink = static_cast<uint32_t>(st.st_nlink);
  out.uid = st.st_uid;
  out.gid = st.st_gid;
  out.mode = static_cast<uint16_t>(st.st_mode);
  out.ino = st.st_ino;
  out.size = static_cast<uint64_t>(st.st_size);
  out.blocks = static_cast<uint64_t>(st.st_blocks);
  out.atime = time(st.st_atim);
  out.btime = time(TimeOf(node.record.btime_ns));
  out.ctime = time(st.st_ctim);
  out.mtime = time(st.st_mtim);
  out.rdev_major = major(st.st_rdev);
  out.rdev_minor = minor(st.st_rdev);
  fuse_reply_buf(req, reinterpret_cast<const char*>(&out), sizeof(out));
}

void ReplyOpen(fuse_req_t req, FuseRequest& request, uint64_t inode, int error,
               const volume::Opened& opened) {
  if (error != 0) {
    fuse_reply_err(req, error);
    return;
  }
  const abi::OpenOut out = RawOpenOf(opened);
  if (fuse_reply_buf(req, reinterpret_cast<const char*>(&out), sizeof(out)) != 0) {
    request.volume().Release(request, inode, opened.handle);
  }
}

void ReplyCreate(fuse_req_t req, FuseRequest& request, int error, const volume::Node& node,
                 const volume::Opened& opened) {
  if (error != 0) {
    fuse_reply_err(req, error);
    return;
  }
  const abi::CreateOut out{RawEntryOf(node), RawOpenOf(opened)};
  if (fuse_reply_buf(req, reinterpret_cast<const char*>(&out), sizeof(out)) != 0) {
    request.volume().Release(request, node.record.inode, opened.handle);
    request.volume().Forget(node.record.inode, 1);
  }
}

void ReplyAbsent(fuse_req_t req, uint32_t seconds) {
  fuse_entry_param entry{};  // ino 0: nothing there
  entry.entry_timeout = seconds;
  fuse_reply_entry(req, &entry);
}

}  // namespace airstore::fuse
