// SPDX-License-Identifier: Apache-2.0
//
// Reading files and symbolic links.
//
// Bytes are handed out first and believed afterwards never: before a slab extent is used, and after
// a content file was read, the record is looked at again, so that bytes and record belong together.
#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "frontends/volume/hazard.h"
#include "frontends/volume/stopwatch.h"
#include "frontends/volume/volume.h"

namespace airstore::volume {
namespace {

// Each try that fails means that the content was replaced meanwhile.
constexpr int kReadTries = 64;

bool IsSlab(const shm::InodeRecord& record) {
  return record.content_kind == static_cast<uint32_t>(shm::ContentKind::kSlab);
}

bool IsFile(const shm::InodeRecord& record) {
  return record.content_kind == static_cast<uint32_t>(shm::ContentKind::kFile);
}

bool IsComplete(const shm::InodeRecord& record) {
  return (record.flags & shm::kContentComplete) != 0;
}

bool SameExtent(const shm::InodeRecord& a, const shm::InodeRecord& b) {
  return IsSlab(a) && IsSlab(b) && a.slab_index == b.slab_index &&
         a.extent_offset == b.extent_offset && a.extent_bytes == b.extent_bytes;
}

size_t Available(const shm::InodeRecord& record, uint64_t offset, uint32_t size) {
  if (offset >= record.size) return 0;
  return static_cast<size_t>(std::min<uint64_t>(size, record.size - offset));
}

// A page that is not in our tables yet, when a signal kills us while the kernel copies the reply
// from it, would make the kernel answer the read with EIO.
void MapPages(std::span<const uint8_t> bytes) {
  constexpr size_t kPage = 4096;
  for (size_t at = 0; at < bytes.size(); at += kPage) {
    [[maybe_unused]] const uint8_t touched = static_cast<const volatile uint8_t&>(bytes[at]);
  }
}

// Reads until `bytes` or the end of the file. -1 with errno.
ssize_t ReadFully(int fd, uint8_t* out, size_t bytes, uint64_t offset) {
  size_t done = 0;
  while (done < bytes) {
    const ssize_t got = pread(fd, out + done, bytes - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -1;
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return static_cast<ssize_t>(done);
}

}  // namespace

Volume::ReadStep Volume::ReadSlab(const shm::InodeRef& file, uint64_t offset, uint32_t size,
                                  ReadSink& sink, Served* served) {
  const shm::Extent extent{file.record.slab_index, file.record.extent_offset,
                           file.record.extent_bytes};
  Hazard hazard(*lane_);
  shm::InodeRecord now = file.record;
  std::span<const uint8_t> content;
  if (extent.bytes != 0) {  // an empty file has no extent to protect
    hazard.Name(extent.key());
    if (!reader_.ReadInode(file.index, file.record.inode, &now) || !SameExtent(now, file.record)) {
      lane_->Count(shm::kHazardRetries);
      return ReadStep::kAgain;
    }
    content = slabs_.Bytes(extent);
    if (content.empty()) {
      hazard.Clear();
      return WaitForSlab(file.record) ? ReadStep::kAgain : ReadStep::kFailed;
    }
  }
  const size_t wanted = Available(now, offset, size);
  content = offset < content.size() ? content.subspan(offset) : std::span<const uint8_t>();
  content = content.first(std::min(content.size(), wanted));
  MapPages(content);
  iovec parts[2] = {{const_cast<uint8_t*>(content.data()), content.size()}, {nullptr, 0}};
  lane_->Count(shm::kReadSlab);
  lane_->Count(shm::kReadBytes, wanted);
  *served = {shm::ReadSource::kShared, wanted};
  if (content.size() == wanted) {
    sink.Deliver(parts, wanted == 0 ? 0 : 1);
    return ReadStep::kDone;
  }
  const size_t hole = wanted - content.size();  // a size set beyond the content reads as zeros
  const auto zeros = buffers_.Take(hole);
  memset(zeros.data(), 0, hole);
  parts[1] = {zeros.data(), hole};
  sink.Deliver(parts, 2);
  return ReadStep::kDone;
}

Volume::ReadStep Volume::ReadFile(Request& request, const shm::InodeRef& file, uint64_t offset,
                                  uint32_t size, ReadSink& sink, int* error, Served* served) {
  ContentFd fd;
  *error = FetchContentFd(request, file.record, &fd);
  if (*error != 0) return ReadStep::kFailed;
  if (fd == nullptr) return ReadStep::kAgain;
  // The table has the size that the kernel's own writes have left behind.
  const bool grows = (file.record.flags & shm::kPassthroughWriter) != 0;
  const size_t wanted = grows ? size : Available(file.record, offset, size);
  const auto buffer = buffers_.Take(wanted);
  const ssize_t got = ReadFully(fd->get(), buffer.data(), wanted, offset);
  if (got < 0) {
    *error = errno;
    return ReadStep::kFailed;
  }
  if (!grows) memset(buffer.data() + got, 0, wanted - static_cast<size_t>(got));
  shm::InodeRecord now;
  if (!reader_.ReadInode(file.index, file.record.inode, &now) || !IsFile(now) ||
      now.content_file != file.record.content_file ||
      (IsComplete(file.record) && !IsComplete(now))) {
    return ReadStep::kAgain;
  }
  const size_t valid =
      grows ? static_cast<size_t>(got) : std::min(wanted, Available(now, offset, size));
  const iovec part{buffer.data(), valid};
  lane_->Count(shm::kReadFile);
  lane_->Count(shm::kReadBytes, valid);
  *served = {shm::ReadSource::kContent, valid};
  sink.Deliver(&part, valid == 0 ? 0 : 1);
  return ReadStep::kDone;
}

int Volume::Read(Request& request, uint64_t inode, OpenHandle handle, uint64_t offset,
                 uint32_t size, ReadSink& sink) {
  const Stopwatch watch(*lane_, shm::kLatencyRead);
  Served served;
  const int error = ReadContent(request, inode, handle, offset, size, sink, &served);
  if (lane_->reads_wanted()) {
    shm::NotedRead read;
    read.inode = inode;
    read.offset = offset;
    read.time_ms = static_cast<int64_t>(ClockNs(CLOCK_REALTIME_COARSE) / 1'000'000);
    read.requested = size;
    read.bytes = static_cast<uint32_t>(served.bytes);
    read.latency_us = static_cast<uint32_t>(watch.elapsed_ns() / 1000);
    read.source = served.source;
    read.error = static_cast<uint16_t>(error);
    lane_->NoteRead(read);
  }
  return error;
}

int Volume::ReadContent(Request& request, uint64_t inode, OpenHandle handle, uint64_t offset,
                        uint32_t size, ReadSink& sink, Served* served) {
  // A kernel keeps the page locked that it reads, and another mount may have to forget it.
  if (!lane_->WaitWritten(inode)) return ETIMEDOUT;
  uint64_t ready_file = 0;  // content file in which the broker has made the range valid
  uint64_t ready_epoch = 0;
  for (int tries = 0; tries < kReadTries; ++tries) {
    shm::InodeRef file;
    int error = EIO;
    ReadStep step = ReadStep::kAgain;
    bool here = false;
    if (Find(inode, handle.index, &file)) {
      if ((file.record.flags & shm::kPassthroughWriter) == 0 &&
          Available(file.record, offset, size) == 0) {
        sink.Deliver(nullptr, 0);
        return 0;
      }
      if (IsSlab(file.record)) {
        here = true;
        step = ReadSlab(file, offset, size, sink, served);
      } else if (IsFile(file.record) &&
                 (IsComplete(file.record) || (file.record.content_file == ready_file &&
                                              content_fds_.epoch() == ready_epoch))) {
        here = true;
        step = ReadFile(request, file, offset, size, sink, &error, served);
        if (step == ReadStep::kDone && ready_file != 0) {
          served->source = shm::ReadSource::kFetched;
        }
      }
    }
    if (step == ReadStep::kDone) return 0;
    if (step == ReadStep::kFailed) return error;
    if (here) continue;
    lane_->Count(shm::kReadBroker);
    shm::RequestArgs args = Args(shm::Op::kReadRange, inode);
    args.offset = offset;
    args.size = size;
    ready_epoch = content_fds_.epoch();
    const auto reply = Call(request, args, Wait::kToTheEnd);
    if (reply.error != 0) return reply.error;
    ready_file = reply.attr.content_file;
  }
  return EIO;
}

Volume::ReadStep Volume::CopyTarget(const shm::InodeRef& link, std::string* target) {
  const shm::Extent extent{link.record.slab_index, link.record.extent_offset,
                           link.record.extent_bytes};
  Hazard hazard(*lane_);
  hazard.Name(extent.key());
  shm::InodeRecord now;
  if (!reader_.ReadInode(link.index, link.record.inode, &now) || !SameExtent(now, link.record)) {
    lane_->Count(shm::kHazardRetries);
    return ReadStep::kAgain;
  }
  const auto content = slabs_.Bytes(extent);
  if (content.empty()) {
    hazard.Clear();
    return WaitForSlab(link.record) ? ReadStep::kAgain : ReadStep::kFailed;
  }
  target->assign(reinterpret_cast<const char*>(content.data()), content.size());
  return ReadStep::kDone;
}

int Volume::Readlink(Request& request, uint64_t inode, std::string* target) {
  for (int tries = 0; tries < kReadTries; ++tries) {
    shm::InodeRef link;
    if (reader_.FindInode(inode, &link)) {
      if (!S_ISLNK(link.record.mode)) return EINVAL;
      if (IsSlab(link.record)) {
        const ReadStep step = CopyTarget(link, target);
        if (step == ReadStep::kDone) return 0;
        if (step == ReadStep::kFailed) return EIO;
        continue;
      }
    }
    const auto reply = Call(request, Args(shm::Op::kReadlink, inode), Wait::kToTheEnd);
    if (reply.error != 0) return reply.error;
  }
  return EIO;
}

}  // namespace airstore::volume
