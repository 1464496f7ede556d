// SPDX-License-Identifier: Apache-2.0
//
// airstore-null-fuse MOUNTPOINT: serves an empty tree from memory, doing as little per request as a
// libfuse low-level server can. It is the limit of the request path that our frontend is measured
// against; what is written is lost when it ends.
// Threads: handlers run on libfuse's workers; MemoryTree says what is locked. Runs in the
// foreground.
#include <fcntl.h>
#include <sys/statvfs.h>

#include <cstdio>
#include <cstring>
#include <mutex>
#include <vector>

#include "tools/bench/fuse_server.h"
#include "tools/bench/memory_tree.h"

namespace airstore::bench {
namespace {

static_assert(sizeof(fuse_ino_t) >= sizeof(uintptr_t), "node ids are pointers");

constexpr uint64_t kArenaBytes = 256ULL << 30;

MemoryTree& TreeOf(fuse_req_t req) { return *static_cast<MemoryTree*>(fuse_req_userdata(req)); }

Node* NodeOf(fuse_req_t req, fuse_ino_t ino) {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): libfuse carries our pointer as a number
  return ino == FUSE_ROOT_ID ? TreeOf(req).root() : reinterpret_cast<Node*>(ino);
}

fuse_entry_param EntryOf(Node* node, const struct stat& attributes) {
  fuse_entry_param entry{};
  entry.ino = reinterpret_cast<fuse_ino_t>(node);
  entry.attr = attributes;
  entry.attr_timeout = entry.entry_timeout = kFuseTimeoutSeconds;
  return entry;
}

void Init(void* /*userdata*/, fuse_conn_info* connection) { ApplyFuseSettings(connection); }

void Lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
  struct stat attributes;
  auto node = TreeOf(req).Lookup(NodeOf(req, parent), name, &attributes);
  fuse_entry_param entry{};
  if (node) {
    entry = EntryOf(*node, attributes);
  } else if (node.error().code == ENOENT) {
    entry.entry_timeout = kFuseTimeoutSeconds;  // ino 0: a cached negative entry
  } else {
    fuse_reply_err(req, node.error().code);
    return;
  }
  fuse_reply_entry(req, &entry);
}

void Forget(fuse_req_t req, fuse_ino_t ino, uint64_t count) {
  TreeOf(req).Forget(NodeOf(req, ino), count);
  fuse_reply_none(req);
}

void ForgetMulti(fuse_req_t req, size_t count, fuse_forget_data* forgets) {
  for (size_t i = 0; i < count; ++i) {
    TreeOf(req).Forget(NodeOf(req, forgets[i].ino), forgets[i].nlookup);
  }
  fuse_reply_none(req);
}

void GetAttr(fuse_req_t req, fuse_ino_t ino, fuse_file_info* /*file*/) {
  const struct stat attributes = TreeOf(req).Attributes(NodeOf(req, ino));
  fuse_reply_attr(req, &attributes, kFuseTimeoutSeconds);
}

void SetAttr(fuse_req_t req, fuse_ino_t ino, struct stat* wanted, int what, fuse_file_info* file) {
  Node* node = NodeOf(req, ino);
  {
    const std::unique_lock lock(TreeOf(req).NodeLock(node));
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    node->ctime = now;
    if (what & FUSE_SET_ATTR_MODE) node->mode = wanted->st_mode;
    if (what & FUSE_SET_ATTR_UID) node->uid = wanted->st_uid;
    if (what & FUSE_SET_ATTR_GID) node->gid = wanted->st_gid;
    if (what & FUSE_SET_ATTR_SIZE) {
      node->data.Truncate(static_cast<uint64_t>(wanted->st_size));
      node->mtime = now;
    }
    if (what & FUSE_SET_ATTR_ATIME) node->atime = wanted->st_atim;
    if (what & FUSE_SET_ATTR_ATIME_NOW) node->atime = now;
    if (what & FUSE_SET_ATTR_MTIME) node->mtime = wanted->st_mtim;
    if (what & FUSE_SET_ATTR_MTIME_NOW) node->mtime = now;
  }
  GetAttr(req, ino, file);
}

// Makes a node and answers with its entry; `file` is set for create(2).
void MakeNode(fuse_req_t req, fuse_ino_t parent, const char* name, NewNode what,
              fuse_file_info* file) {
  const fuse_ctx* caller = fuse_req_ctx(req);
  what.uid = caller->uid;
  what.gid = caller->gid;
  struct stat attributes;
  auto node = TreeOf(req).Create(NodeOf(req, parent), name, what, &attributes);
  if (!node) {
    fuse_reply_err(req, node.error().code);
    return;
  }
  const fuse_entry_param entry = EntryOf(*node, attributes);
  if (file == nullptr) {
    fuse_reply_entry(req, &entry);
    return;
  }
  KeepFileCache(file);
  fuse_reply_create(req, &entry, file);
}

void Create(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode,
            fuse_file_info* file) {
  MakeNode(req, parent, name, {.mode = (mode & 07777U) | S_IFREG, .symlink = {}}, file);
}

void MakeDirectory(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode) {
  MakeNode(req, parent, name, {.mode = (mode & 07777U) | S_IFDIR, .symlink = {}}, nullptr);
}

void Symlink(fuse_req_t req, const char* target, fuse_ino_t parent, const char* name) {
  MakeNode(req, parent, name, {.mode = S_IFLNK | 0777, .symlink = target}, nullptr);
}

void ReadLink(fuse_req_t req, fuse_ino_t ino) {
  fuse_reply_readlink(req, NodeOf(req, ino)->symlink.c_str());
}

void Unlink(fuse_req_t req, fuse_ino_t parent, const char* name) {
  fuse_reply_err(req, TreeOf(req).Remove(NodeOf(req, parent), name, false));
}

void RemoveDirectory(fuse_req_t req, fuse_ino_t parent, const char* name) {
  fuse_reply_err(req, TreeOf(req).Remove(NodeOf(req, parent), name, true));
}

void Rename(fuse_req_t req, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
            const char* new_name, unsigned flags) {
  constexpr unsigned kNoReplace = 1;
  if ((flags & ~kNoReplace) != 0) {
    fuse_reply_err(req, EINVAL);
    return;
  }
  fuse_reply_err(req, TreeOf(req).Rename(NodeOf(req, parent), name, NodeOf(req, new_parent),
                                         new_name, (flags & kNoReplace) == 0));
}

void Open(fuse_req_t req, fuse_ino_t ino, fuse_file_info* file) {
  if (file->flags & O_TRUNC) {
    Node* node = NodeOf(req, ino);
    const std::unique_lock lock(TreeOf(req).NodeLock(node));
    node->data.Truncate(0);
    clock_gettime(CLOCK_REALTIME, &node->mtime);
  }
  KeepFileCache(file);
  fuse_reply_open(req, file);
}

void Read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, fuse_file_info* /*file*/) {
  thread_local std::vector<iovec> parts;
  parts.clear();
  Node* node = NodeOf(req, ino);
  const std::shared_lock lock(TreeOf(req).NodeLock(node));
  node->data.Read(static_cast<uint64_t>(offset), size, &parts);
  fuse_reply_iov(req, parts.data(), static_cast<int>(parts.size()));
}

void Write(fuse_req_t req, fuse_ino_t ino, const char* data, size_t size, off_t offset,
           fuse_file_info* /*file*/) {
  Node* node = NodeOf(req, ino);
  int error = 0;
  {
    const std::unique_lock lock(TreeOf(req).NodeLock(node));
    error = node->data.Write(static_cast<uint64_t>(offset), data, size);
    clock_gettime(CLOCK_REALTIME, &node->mtime);
  }
  if (error != 0) {
    fuse_reply_err(req, error);
  } else {
    fuse_reply_write(req, size);
  }
}

void Done(fuse_req_t req, fuse_ino_t /*ino*/, fuse_file_info* /*file*/) { fuse_reply_err(req, 0); }

void OpenDirectory(fuse_req_t req, fuse_ino_t /*ino*/, fuse_file_info* file) {
  KeepDirectoryCache(file);
  fuse_reply_open(req, file);
}

// One packed reply of a listing; the references of readdirplus are taken as entries are added.
class Listing {
 public:
  Listing(fuse_req_t req, size_t size, bool plus) : req_(req), plus_(plus), buffer_(size) {}

  bool Add(const char* name, Node* node, const struct stat& attributes, uint64_t cookie,
           bool is_dots) {
    char* at = buffer_.data() + used_;
    const size_t room = buffer_.size() - used_;
    const auto next = static_cast<off_t>(cookie);
    size_t need = 0;
    if (plus_) {
      fuse_entry_param entry = EntryOf(node, attributes);
      if (is_dots) entry.ino = 0;  // the kernel takes no reference for these
      need = fuse_add_direntry_plus(req_, at, room, name, &entry, next);
    } else {
      need = fuse_add_direntry(req_, at, room, name, &attributes, next);
    }
    if (need > room) return false;
    used_ += need;
    if (plus_ && !is_dots) node->lookups.fetch_add(1, std::memory_order_relaxed);
    return true;
  }
  void Reply() { fuse_reply_buf(req_, buffer_.data(), used_); }

 private:
  const fuse_req_t req_;
  const bool plus_;
  std::vector<char> buffer_;
  size_t used_ = 0;
};

// What readdir needs of a node; complete attributes only for readdirplus.
struct stat ListingAttributes(MemoryTree& tree, const Node* node, bool plus) {
  struct stat attributes;
  const std::shared_lock lock(tree.NodeLock(node));
  if (plus) {
    MemoryTree::FillAttributes(*node, &attributes);
  } else {
    attributes = {};
    attributes.st_ino = node->ino;
    attributes.st_mode = node->mode;
  }
  return attributes;
}

void ListDirectory(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, bool plus) {
  MemoryTree& tree = TreeOf(req);
  Node* node = NodeOf(req, ino);
  Listing listing(req, size, plus);
  {
    const std::shared_lock lock(tree.tree_lock());
    bool room = true;
    if (offset < 1) room = listing.Add(".", node, ListingAttributes(tree, node, false), 1, true);
    if (room && offset < 2) {
      room = listing.Add("..", node->parent, ListingAttributes(tree, node->parent, false), 2, true);
    }
    const auto& entries = node->directory->by_cookie;
    for (auto at = entries.upper_bound(static_cast<uint64_t>(offset)); room && at != entries.end();
         ++at) {
      Node* child = at->second.node;
      room = listing.Add(at->second.name.c_str(), child, ListingAttributes(tree, child, plus),
                         at->first, false);
    }
  }
  listing.Reply();
}

void ReadDirectory(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                   fuse_file_info* /*file*/) {
  ListDirectory(req, ino, size, offset, false);
}

void ReadDirectoryPlus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                       fuse_file_info* /*file*/) {
  ListDirectory(req, ino, size, offset, true);
}

void StatFs(fuse_req_t req, fuse_ino_t /*ino*/) {
  struct statvfs stats {};
  stats.f_bsize = stats.f_frsize = 4096;
  stats.f_blocks = stats.f_bfree = stats.f_bavail = kArenaBytes / 4096;
  stats.f_files = stats.f_ffree = stats.f_favail = 1U << 30;
  stats.f_namemax = 255;
  fuse_reply_statfs(req, &stats);
}

// No xattr operations: libfuse answers ENOSYS, and the kernel never asks again.
fuse_lowlevel_ops Operations() {
  fuse_lowlevel_ops ops{};
  ops.init = Init;
  ops.lookup = Lookup;
  ops.forget = Forget;
  ops.forget_multi = ForgetMulti;
  ops.getattr = GetAttr;
  ops.setattr = SetAttr;
  ops.readlink = ReadLink;
  ops.mkdir = MakeDirectory;
  ops.unlink = Unlink;
  ops.rmdir = RemoveDirectory;
  ops.symlink = Symlink;
  ops.rename = Rename;
  ops.open = Open;
  ops.read = Read;
  ops.write = Write;
  ops.flush = Done;
  ops.release = Done;
  ops.fsync = [](fuse_req_t req, fuse_ino_t, int, fuse_file_info*) { fuse_reply_err(req, 0); };
  ops.opendir = OpenDirectory;
  ops.readdir = ReadDirectory;
  ops.releasedir = Done;
  ops.statfs = StatFs;
  ops.create = Create;
  ops.readdirplus = ReadDirectoryPlus;
  return ops;
}

int Main(const char* mountpoint) {
  auto arena = DataArena::Create(kArenaBytes);
  if (!arena) {
    fprintf(stderr, "airstore-null-fuse: %s\n", arena.error().ToString().c_str());
    return 1;
  }
  MemoryTree tree(arena->get());
  auto served = RunFuseServer({mountpoint, "airstore-null", Operations(), &tree});
  if (!served) {
    fprintf(stderr, "airstore-null-fuse: %s\n", served.error().ToString().c_str());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace airstore::bench

int main(int argc, char** argv) {
  if (argc != 2 || argv[1][0] == '-') {
    fprintf(stderr, "usage: airstore-null-fuse MOUNTPOINT\n");
    return argc == 2 && strcmp(argv[1], "--help") == 0 ? 0 : 2;
  }
  return airstore::bench::Main(argv[1]);
}
