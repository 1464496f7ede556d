// SPDX-License-Identifier: Apache-2.0
//
// Volume: one mount as a frontend sees it. File operations by inode number, answered from shared
// memory when it holds the answer, else by a call to the broker.
//
// It knows no protocol: operations return an errno and fill plain values; the adapters translate.
// The inode numbers are what the protocol shows (FUSE node ids, NFS handles), and every inode the
// protocol's client may hold is counted in the lane, so that the broker keeps its entry in place.
// Threads: any number may call any operation; On* come from the channel's thread.
// Owns: the mapped segments and the descriptors it is given.
// Fails: with the broker's errno; EIO when broker and tables do not agree after several tries.
#pragma once

#include <sys/uio.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "frontends/volume/buffer_pool.h"
#include "frontends/volume/content_fds.h"
#include "frontends/volume/dir_hints.h"
#include "frontends/volume/open_handle.h"
#include "frontends/volume/request.h"
#include "shm/counters.h"
#include "shm/lane.h"
#include "shm/meta_table.h"
#include "shm/slab.h"

namespace airstore::volume {

// How long a client may believe what it was told. Long: the broker invalidates what changes.
inline constexpr uint32_t kTrustSeconds = 3600;

// Who acts as somebody else, which makes what its client has checked worthless.
struct Squash {
  bool all = false;  // else uid 0
  uint32_t uid = 0;  // as whom
  uint32_t gid = 0;
};

struct VolumeOptions {
  shm::SessionId session{};
  uint32_t mount_index = 0;
  bool read_only = false;
  bool relatime = false;             // reading moves times of access
  std::optional<uint32_t> show_uid;  // present every file as owned by ...
  std::optional<uint32_t> show_gid;
  std::optional<Squash> squash;  // with it names have no time to live: each use asks us
};

// One inode as handed to the client.
struct Node {
  shm::InodeRecord record{};
  uint32_t attr_seconds = 0;   // how long the attributes hold
  uint32_t entry_seconds = 0;  // how long the name does
};

struct SetattrArgs {
  uint32_t valid = 0;  // shm::SetattrValid
  uint32_t mode = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t size = 0;
  int64_t atime_ns = 0;
  int64_t mtime_ns = 0;
};

struct Opened {
  OpenHandle handle;
  int32_t backing_id = 0;       // passthrough only
  bool through_daemon = false;  // ... but for maps: reads and writes are to come to us
  bool keep_cache = false;      // the client's pages are still those of this content
  bool tell_close = false;      // closing a descriptor of it may mean something
};

// Who is to see a write when it has returned, besides those who ask us: mounts of the session, and
// those whom the kernel shows the content file itself if there are any. Later: what a kernel writes
// back by itself is in the file, and the other mounts hear of it. They may be writing back the same
// page, and neither may wait for the other.
enum class Visible { kToAskers, kToTheKernel, kLater };

inline Visible VisibleThrough(OpenHandle handle) {
  return handle.path() == shm::kOpenPassthrough ? Visible::kToTheKernel : Visible::kToAskers;
}

// A lock as a client asks for it.
struct LockArgs {
  uint64_t owner = 0;
  uint64_t first = 0;
  uint64_t last = 0;   // inclusive
  uint32_t flags = 0;  // shm::LockFlags; of the answer: 0: nothing stands in the way
  uint32_t pid = 0;
};

struct Statfs {
  uint64_t total_bytes = 0;
  uint64_t free_bytes = 0;
  uint64_t total_inodes = 0;
  uint64_t free_inodes = 0;
  uint64_t block_bytes = 0;
};

// Takes the bytes of a read while they are protected; called exactly once by a read that succeeds.
class ReadSink {
 public:
  virtual void Deliver(const iovec* parts, int count) = 0;

 protected:
  ~ReadSink() = default;
};

enum class Listing { kNames, kNodes };

struct DirEntry {
  std::string_view name;
  uint64_t offset;  // a later Readdir with it goes on behind this entry
  uint64_t inode;
  uint32_t type;     // DT_*
  const Node* node;  // kNodes: counted as looked up; nullptr: not to be had, names only
  uint32_t index;    // of the name in the table; kNoIndex: of "." and ".."
};

// An order of names that clients know them by.
class NameOrder {
 public:
  virtual uint64_t PlaceOf(std::string_view name) const = 0;

 protected:
  ~NameOrder() = default;
};
struct PlacedName {
  uint64_t place;
  uint32_t index;  // as of DirEntry
};
// kChanged: behind those that were handed out, an index has another name by now.
enum class PlacesEnd { kAll, kFull, kChanged };

class DirSink {
 public:
  virtual bool Fits(size_t name_bytes) = 0;
  virtual void Add(const DirEntry& entry) = 0;  // only after Fits said so

 protected:
  ~DirSink() = default;
};

class Volume {
 public:
  static Result<std::unique_ptr<Volume>> Create(const VolumeOptions& options, UniqueFd meta,
                                                UniqueFd lane, UniqueFd arena, UniqueFd wake);

  // ---- names (volume_lookup.cc, volume_mutate.cc). Those that fill a node count one lookup.
  // ENOENT may be remembered for `out->entry_seconds`.
  int Lookup(Request& request, uint64_t parent, std::string_view name, Node* out);
  // As Lookup, without counting one.
  int Peek(Request& request, uint64_t parent, std::string_view name, Node* out);
  void Forget(uint64_t inode, uint64_t count);
  // Counts one lookup of an inode that is in the table and known here. False: it is not.
  bool Hold(uint64_t inode);
  // What an earlier frontend has counted, for clients that hold nothing. Before any operation.
  void ForgetAll();
  int Getattr(Request& request, uint64_t inode, Node* out);
  // The same, but size and times may be those before writes that are queued: does not wait for
  // them.
  int GetattrAsItIs(Request& request, uint64_t inode, Node* out);
  // The same of the broker, whatever the tables say: what was queued before is done.
  int GetattrAtBroker(Request& request, uint64_t inode, Node* out);
  // No write to the inode is queued.
  bool Settled(uint64_t inode);
  int Setattr(Request& request, uint64_t inode, const SetattrArgs& values, Node* out);
  int Readlink(Request& request, uint64_t inode, std::string* target);
  int Mknod(Request& request, uint64_t parent, std::string_view name, uint32_t mode, uint64_t rdev,
            Node* out);
  int Mkdir(Request& request, uint64_t parent, std::string_view name, uint32_t mode, Node* out);
  int Symlink(Request& request, uint64_t parent, std::string_view name, std::string_view target,
              Node* out);
  int Link(Request& request, uint64_t inode, uint64_t parent, std::string_view name, Node* out);
  int Unlink(Request& request, uint64_t parent, std::string_view name);
  int Rmdir(Request& request, uint64_t parent, std::string_view name);
  int Rename(Request& request, uint64_t parent, std::string_view name, uint64_t new_parent,
             std::string_view new_name, uint32_t flags);

  // ---- extended attributes (volume_xattr.cc). `value` and `names` receive at most what the broker
  // has; how much a client wants is its adapter's business.
  int GetXattr(Request& request, uint64_t inode, std::string_view name, std::string* value);
  int ListXattrs(Request& request, uint64_t inode, std::string* names);  // each with a NUL
  // `flags`: of setxattr(2). `valid`: kKillSgid when the caller may not keep set-group-id.
  int SetXattr(Request& request, uint64_t inode, std::string_view name, std::string_view value,
               uint32_t flags, uint32_t valid);
  int RemoveXattr(Request& request, uint64_t inode, std::string_view name);

  // ---- open files (volume_open.cc, volume_read.cc)
  // `valid`: kKillSetId or 0: whether a truncating open takes set-id bits away.
  int Open(Request& request, uint64_t inode, uint32_t flags, Opened* out, uint32_t valid = 0);
  // Before a read or a listing; `flags` of the open. Moves the time of access when that is due.
  void NoteRead(uint64_t inode, uint32_t index, uint32_t flags);
  int Create(Request& request, uint64_t parent, std::string_view name, uint32_t mode,
             uint32_t flags, Node* node, Opened* out);
  // A file without a name in the directory's file system.
  int Tmpfile(Request& request, uint64_t parent, uint32_t mode, uint32_t flags, Node* node,
              Opened* out);
  // The last one was.
  void Release(Request& request, uint64_t inode, OpenHandle handle);
  // The client goes by the size that it is told and opens nothing: one that is not known is found
  // out before it is told. Before the first request.
  void TellTrueSizes() { true_sizes_ = true; }
  int Read(Request& request, uint64_t inode, OpenHandle handle, uint64_t offset, uint32_t size,
           ReadSink& sink);
  // Before a write. ENOSPC: this host has no room for what is unsent, and the write needs some.
  // EINTR.
  int AwaitRoom(Request& request, uint64_t inode, uint64_t offset, uint64_t bytes);
  // Before a write that is no append: what other mounts have stored there to maps comes first.
  int AnnounceWrite(Request& request, uint64_t inode, OpenHandle handle, uint64_t offset,
                    uint64_t size);
  int Write(uint64_t inode, uint64_t offset, std::span<const uint8_t> data,
            Visible visible = Visible::kToAskers, bool append = false);
  // As a write does: no effect where there are no set-id bits.
  int KillSetId(Request& request, uint64_t inode);
  // ... no file capabilities.
  int KillCapabilities(Request& request, uint64_t inode);
  int Fallocate(Request& request, uint64_t inode, uint64_t offset, uint64_t length, int mode);
  // `whence`: SEEK_DATA or SEEK_HOLE.
  int Seek(Request& request, uint64_t inode, uint64_t offset, int whence, uint64_t* found);
  // copy_file_range(2) within the volume. May copy less; nothing: behind the source's end.
  struct CopyArgs {
    uint64_t source = 0;
    uint64_t source_offset = 0;
    uint64_t target = 0;
    uint64_t target_offset = 0;
    uint64_t length = 0;
  };
  int CopyRange(Request& request, const CopyArgs& copy, uint64_t* copied);
  // At the file's end. `offset`: where the kernel takes that to be.
  int Append(Request& request, uint64_t inode, OpenHandle handle, uint64_t offset,
             std::span<const uint8_t> data);
  // A descriptor was closed. Its owner's ranges are unlocked.
  int Flush(Request& request, uint64_t inode, OpenHandle handle, uint64_t owner);
  int Fsync(Request& request, uint64_t inode, uint32_t flags);  // 1: data only

  // ---- locks (volume_lock.cc)
  // Locks, or unlocks. kAnsweredElsewhere: the broker answers the client's request, now or when the
  // lock can be had; an interrupt of the request reaches it by OnInterrupt.
  static constexpr int kAnsweredElsewhere = -1;
  int SetLock(Request& request, uint64_t inode, OpenHandle handle, const LockArgs& lock);
  // What stands in the way of that lock, in its place.
  int GetLock(Request& request, uint64_t inode, OpenHandle handle, LockArgs* lock);
  // An interrupt that the broker is to hear of.
  struct News {
    uint64_t place = 0;    // in the lane
    int64_t until_ns = 0;  // when it should have
  };
  News OnInterrupt(uint64_t unique) { return {lane_->QueueInterrupt(unique), lane_->InAMoment()}; }
  // Waits for that. False: no broker has taken notice.
  bool AwaitTaken(const News& news) { return lane_->WaitTaken(news.place, news.until_ns); }

  // ---- directories (volume_dir.cc)
  // Names keep their places while a directory is open: it is counted, as a file opened here is.
  uint64_t Opendir(uint64_t directory);
  void Releasedir(uint64_t directory);
  // Whether who opens it may be shown what the client has of the listing. `flags`: of the open.
  bool KeepsListing(uint64_t directory, uint32_t flags) const;
  int Readdir(Request& request, uint64_t directory, uint64_t handle, uint64_t offset,
              Listing listing, DirSink& sink);
  // Names of the directory by their indices, as offsets with their places; `done` of them.
  PlacesEnd ReaddirPlaces(Request& request, uint64_t directory, std::span<const PlacedName> names,
                          const NameOrder& order, Listing listing, DirSink& sink, size_t* done);

  int GetStatfs(Request& request, Statfs* out);

  // ---- requests (volume.cc). This thread serves that one from here on, until its answer is with
  // the client. What is done in between is done once, even if we die and a successor is sent the
  // request again (`repeated`); outside of requests, nothing is remembered.
  void BeginRequest(uint64_t unique, bool repeated);
  void EndRequest() { lane_->EndRequest(); }
  // No request that an earlier frontend was sent will be repeated any more.
  void NoMoreRepeated() { lane_->DropLeft(); }
  // The client's first message, kept for successors.
  void SaveOpening(std::span<const uint8_t> bytes) { lane_->SaveOpening(bytes); }
  std::vector<uint8_t> Opening() const { return lane_->Opening(); }
  // The longest request that this mount has had.
  size_t GreatestRequest() const { return lane_->GreatestRequest(); }
  void NoteRequestBytes(size_t bytes) { lane_->NoteRequestBytes(bytes); }

  // Makes waiting operations ask whether they are still wanted.
  void Interrupt() { lane_->Interrupt(); }
  void CountRequest() { lane_->Count(shm::kRequests); }

  // Others may change what there is: mounts of this host.
  bool shared() const { return lane_->shared_session(); }
  // Or other hosts may.
  bool alone() const { return !lane_->shared_session() && !lane_->synchronous(); }

  // ---- for who connects to serve us
  const VolumeOptions& options() const { return options_; }
  const shm::Segment& meta() const { return *meta_; }
  std::vector<const shm::Segment*> slabs() const { return slabs_.segments(); }

  // ---- from the channel (volume_content.cc)
  Result<void> OnSlab(uint32_t index, UniqueFd fd);
  void OnSlabEnded(uint32_t index) { slabs_.Detach(index); }
  // A new broker has adopted what the dead one left: its tables and eventfd in place of the old
  // ones. EPROTO when they do not fit; then nothing has changed.
  Result<void> OnReattach(UniqueFd meta, UniqueFd wake);
  void OnContent(uint64_t id, UniqueFd fd) { content_fds_.Insert(id, std::move(fd)); }

 private:
  // No signal ends a call: programs know no EINTR of a local file system. All give up when the
  // request's time is over, and kBriefly, which is for what happens in any case, after a second.
  enum class Wait { kToTheEnd, kBriefly };
  enum class ReadStep { kDone, kAgain, kFailed };

  Volume(const VolumeOptions& options, UniqueFd wake, std::unique_ptr<shm::Segment> meta,
         shm::MetaView view, std::unique_ptr<shm::LaneProducer> lane);

  static shm::RequestArgs Args(shm::Op op, uint64_t inode);
  shm::RequestReply Call(Request& request, shm::RequestArgs args, Wait wait,
                         std::string_view name = {}, std::string_view name2 = {},
                         std::string* text = nullptr);
  // Known from the table: it has no extended attributes.
  bool HasNoXattrs(uint64_t inode) const;
  bool KnownHere(const shm::InodeRecord& record) const;
  // The record, by the hinted index if that is still right.
  bool Find(uint64_t inode, uint32_t hint, shm::InodeRef* out) const;
  // Counts one lookup, if the inode is still at that index and the broker knows that we hold it.
  bool Acquire(uint32_t index, uint64_t inode, shm::InodeRecord* out);
  void DropLookups(uint32_t index, uint64_t count);
  void DropOpen(uint32_t index);
  Node Present(const shm::InodeRecord& record, uint32_t entry_seconds) const;
  // How long to believe what this request will be told of names in the directory: asked first.
  uint32_t TrustInNames(uint64_t directory) const;
  int LookupAtBroker(Request& request, uint64_t parent, std::string_view name, Wait wait,
                     uint32_t trust, Node* out);
  // Runs a call that makes a name and yields its inode.
  int CallForNode(Request& request, const shm::RequestArgs& args, std::string_view name,
                  std::string_view name2, Node* out);
  int CallForNothing(Request& request, const shm::RequestArgs& args, std::string_view name,
                     std::string_view name2);
  // Fills `out` from the answer to an open; the index is of the opened inode.
  void FillOpened(Request& request, const shm::RequestReply& reply, uint32_t flags, Opened* out);
  bool KeepCache(uint32_t index, uint32_t content_generation);
  // Its time of access is due, and this mount keeps those: the client must let us see the read.
  bool WantsToSeeRead(const shm::InodeRecord& record, uint32_t flags) const;
  // What a call to the broker knows better than the table.
  bool NotInTable(const shm::InodeRecord& record) const;
  bool OpenLocally(Request& request, uint64_t inode, uint32_t flags, Opened* out);
  bool HasLocks(uint64_t inode, OpenHandle handle) const;
  // The write needs no more disk space than the file has.
  bool IsInPlace(Request& request, uint64_t inode, uint64_t offset, uint64_t bytes);

  // What a read came to.
  struct Served {
    shm::ReadSource source = shm::ReadSource::kNowhere;
    size_t bytes = 0;
  };

  bool WaitForSlab(const shm::InodeRecord& record);
  int ReadContent(Request& request, uint64_t inode, OpenHandle handle, uint64_t offset,
                  uint32_t size, ReadSink& sink, Served* served);
  ReadStep ReadSlab(const shm::InodeRef& file, uint64_t offset, uint32_t size, ReadSink& sink,
                    Served* served);
  ReadStep ReadFile(Request& request, const shm::InodeRef& file, uint64_t offset, uint32_t size,
                    ReadSink& sink, int* error, Served* served);
  int FetchContentFd(Request& request, const shm::InodeRecord& record, ContentFd* out);
  ReadStep CopyTarget(const shm::InodeRef& link, std::string* target);

  // Where a directory has its name.
  uint64_t ParentOf(Request& request, uint64_t directory);
  struct Walk;
  int WalkListing(Request& request, Walk* walk, DirSink& sink);
  bool WalkChain(Request& request, Walk* walk, const shm::InodeRecord& directory, DirSink& sink);
  bool AcquireChild(Request& request, Walk* walk, uint64_t inode, Node* out);

  const VolumeOptions options_;
  bool true_sizes_ = false;
  const UniqueFd wake_;  // before lane_, which writes to it
  const std::unique_ptr<shm::Segment> meta_;
  const shm::MetaReader reader_;
  const std::unique_ptr<shm::LaneProducer> lane_;
  shm::SlabView slabs_;
  std::mutex slabs_mutex_;  // with slab_arrived_ only: slabs_ has its own lock
  std::condition_variable slab_arrived_;
  ContentFds content_fds_;
  BufferPool buffers_;
  DirHints dir_hints_;
};

}  // namespace airstore::volume
