// SPDX-License-Identifier: Apache-2.0
//
// Directories.
#include <algorithm>
#include <memory>

#include "frontends/fuse/fuse_request.h"
#include "frontends/fuse/ops.h"
#include "frontends/fuse/replies.h"

namespace airstore::fuse {
namespace {

using volume::Listing;

// Fills a reply buffer of the size the kernel asked for.
class ReplyBuffer final : public volume::DirSink {
 public:
  ReplyBuffer(fuse_req_t req, size_t size, Listing listing)
      : req_(req),
        size_(size),
        listing_(listing),
        buffer_(std::make_unique_for_overwrite<char[]>(size)) {}

  bool Fits(size_t name_bytes) override {
    // An entry's length depends on that of its name only; libfuse tells it when asked without room.
    char name[shm::kMaxName + 1];
    if (name_bytes > shm::kMaxName) return false;
    std::fill_n(name, name_bytes, 'x');
    name[name_bytes] = '\0';
    const size_t needed = listing_ == Listing::kNodes
                              ? fuse_add_direntry_plus(req_, nullptr, 0, name, nullptr, 0)
                              : fuse_add_direntry(req_, nullptr, 0, name, nullptr, 0);
    return needed <= size_ - used_;
  }

  void Add(const volume::DirEntry& entry) override {
    char name[shm::kMaxName + 1];
    entry.name.copy(name, entry.name.size());
    name[entry.name.size()] = '\0';
    const auto offset = static_cast<off_t>(entry.offset);
    char* at = buffer_.get() + used_;
    if (listing_ == Listing::kNodes) {
      fuse_entry_param param{};  // ino 0: the kernel takes the name and looks it up when needed
      if (entry.node != nullptr) {
        param = EntryOf(*entry.node);
      } else {
        FillType(entry, &param.attr);
      }
      used_ += fuse_add_direntry_plus(req_, at, size_ - used_, name, &param, offset);
    } else {
      struct stat attr {};
      FillType(entry, &attr);
      used_ += fuse_add_direntry(req_, at, size_ - used_, name, &attr, offset);
    }
  }

  void Send(int error) {
    if (error != 0) {
      fuse_reply_err(req_, error);
    } else {
      fuse_reply_buf(req_, buffer_.get(), used_);
    }
  }

 private:
  static void FillType(const volume::DirEntry& entry, struct stat* attr) {
    attr->st_ino = entry.inode;
    attr->st_mode = static_cast<mode_t>(entry.type << 12);
  }

  fuse_req_t req_;
  size_t size_;
  Listing listing_;
  std::unique_ptr<char[]> buffer_;
  size_t used_ = 0;
};

void List(fuse_req_t req, fuse_ino_t inode, size_t size, off_t offset, const fuse_file_info* file,
          Listing listing) {
  FuseRequest request(req);
  ReplyBuffer buffer(req, size, listing);
  request.volume().NoteRead(inode, shm::kNoIndex, static_cast<uint32_t>(file->flags));
  const int error = request.volume().Readdir(request, inode, file->fh,
                                             static_cast<uint64_t>(offset), listing, buffer);
  buffer.Send(error);
}

void Opendir(fuse_req_t req, fuse_ino_t inode, fuse_file_info* file) {
  FuseRequest request(req);
  const auto flags = static_cast<uint32_t>(file->flags);
  if (const int error =
          request.Allowed([&](volume::Guard& guard) { return guard.Open(inode, flags); });
      error != 0) {
    fuse_reply_err(req, error);
    return;
  }
  file->fh = request.volume().Opendir(inode);
  file->cache_readdir = 1;
  // The broker invalidates a directory that changed elsewhere.
  file->keep_cache = request.volume().KeepsListing(inode, flags) ? 1 : 0;
  fuse_reply_open(req, file);
}

void Releasedir(fuse_req_t req, fuse_ino_t inode, fuse_file_info* /*file*/) {
  FuseRequest request(req);
  request.volume().Releasedir(inode);
  fuse_reply_err(req, 0);
}

void Readdir(fuse_req_t req, fuse_ino_t inode, size_t size, off_t offset, fuse_file_info* file) {
  List(req, inode, size, offset, file, Listing::kNames);
}

void Readdirplus(fuse_req_t req, fuse_ino_t inode, size_t size, off_t offset,
                 fuse_file_info* file) {
  List(req, inode, size, offset, file, Listing::kNodes);
}

void Fsyncdir(fuse_req_t req, fuse_ino_t inode, int data_only, fuse_file_info* /*file*/) {
  FuseRequest request(req);
  fuse_reply_err(req, request.volume().Fsync(request, inode, data_only != 0 ? 1 : 0));
}

}  // namespace

void AddDirOps(fuse_lowlevel_ops* ops) {
  ops->opendir = Opendir;
  ops->releasedir = Releasedir;
  ops->readdir = Readdir;
  ops->readdirplus = Readdirplus;
  ops->fsyncdir = Fsyncdir;
}

}  // namespace airstore::fuse
