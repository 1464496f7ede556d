// SPDX-License-Identifier: Apache-2.0
//
// Contents: where the content of each file of the session is, how opens reach it, and how changes
// leave for the gateway.
//
// A file is in one of these places (InodeRecord::content_kind):
//   none   only at the gateway
//   slab   small and clean: in shared memory, read by frontends without asking
//   file   larger, or written here: in a content file, read and written by the kernel (passthrough)
//          or through the daemon
// It moves: none -> slab or file by fetching; slab -> file at the first open for writing; file ->
// slab when small, clean and closed; either -> none by eviction.
//
// How an open travels is decided per inode for as long as any open exists, because the kernel
// refuses to mix passthrough with other kinds: passthrough when the content file is complete and no
// open anywhere goes through a daemon, else through the daemon.
//
// Threads: the event loop; bulk reading and hashing runs on `workers`, and what readers wait for on
// `fetchers`.
#pragma once

#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "broker/append_place.h"
#include "broker/content_copy.h"
#include "broker/content_file.h"
#include "broker/content_upload.h"
#include "broker/gateway.h"
#include "broker/inode_cache.h"
#include "broker/mount_ledger.h"
#include "broker/mount_port.h"
#include "broker/mutation_log.h"
#include "broker/spool_budget.h"

namespace airstore::broker {

// How a file was opened, as the frontend needs to know it.
struct OpenResult {
  uint32_t mode = 0;  // shm::OpenMode
  int32_t backing_id = 0;
  bool first_writer = false;  // by passthrough, of this mount
};

struct ContentsOptions {
  std::string directory;               // of the content files
  uint64_t limit_bytes = 20ull << 30;  // of clean content kept in files
  int64_t debounce_ns = 500'000'000;
  int64_t debounce_max_ns = 2'000'000'000;
  int64_t patience_ns = 30'000'000'000;  // of readers who wait for the gateway
  SpoolBudget* budget = nullptr;
  boost::asio::thread_pool* fetchers = nullptr;  // put what was fetched in place
  // Greater than any that was given before in this directory.
  uint64_t first_file = 1;
  uint64_t first_id = 1;
};

// Content that the gateway refused for good.
struct RefusedContent {
  uint64_t inode = 0;
  int error = 0;
  std::string path;  // of the content file
  uint64_t size = 0;
  std::string kept_as;  // the item of lost+found that holds an earlier state of it; empty: none
  bool move = false;    // nobody uses the file: another name for it will do
};

// The call of a mount that an append has made.
struct AppendCall {
  uint32_t mount = 0;
  uint32_t slot = 0;
  uint64_t position = 0;

  bool operator==(const AppendCall&) const = default;
};

// As of copy_file_range(2).
struct CopyRange {
  uint64_t source = 0;
  uint64_t source_offset = 0;
  uint64_t target = 0;
  uint64_t target_offset = 0;
  uint64_t length = 0;
};
inline constexpr uint64_t kMostCopied = 16u << 20;  // by one call

class Contents : public ContentSource {
 public:
  Contents(boost::asio::any_io_executor executor, Tasks* tasks, boost::asio::thread_pool* workers,
           InodeCache* inodes, Gateway* gateway, MountSet* mounts, SessionJournal* journal,
           const ContentsOptions& options);
  // The content files stay: a later session may need them.
  ~Contents() override { pool_.Close(); }

  void SetLog(MutationLog* log) { log_ = log; }
  void SetLimits(const SessionLimits& limits) { limits_ = limits; }
  // Brings a stale inode up to date.
  using RefreshStale = std::function<Task<Result<void>>(uint64_t inode)>;
  void SetRefreshStale(RefreshStale refresh) { refresh_stale_ = std::move(refresh); }
  // Puts refused content into lost+found; returns the id of the item.
  using KeepRefused = std::function<Task<Result<std::string>>(RefusedContent content)>;
  void SetKeepRefused(KeepRefused keep) { keep_refused_ = std::move(keep); }
  ContentPool& pool() { return pool_; }

  // ---- contents_adopt.cc: what a dead broker left, in this order, before anything else.
  // The content files. `written`: there were writes since that the tables know nothing of. EPROTO:
  // table and journal do not fit; nothing was lost.
  Result<void> Adopt(const JournalState& state, bool written);
  // An inode that the mount's kernel has open.
  void AdoptOpens(uint32_t mount, uint64_t inode, const MountLedger::Opens& opens);
  // An append was told its place; its bytes end there.
  void AdoptAppend(const AppendCall& call, uint64_t inode, uint64_t end);
  // All mounts are there. What may be dirty is queued.
  void FinishAdoption();

  // A file made here: empty, and all that will be in it is to be sent. Passthrough-ready.
  Result<void> AttachNew(uint64_t inode);
  // REQUIRES: a regular file in the table. `flags`: of open(2); O_TRUNC has been done before.
  // `passthrough`: the kernel may read and write the content file itself.
  Task<Result<OpenResult>> Open(MountPort* mount, uint64_t inode, uint32_t flags,
                                bool passthrough = true);
  // The open of a file just made, without waiting.
  Result<OpenResult> OpenCreated(MountPort* mount, uint64_t inode, uint32_t flags);
  void Release(uint64_t inode, uint32_t mount, uint32_t mode_flags);
  // The mount is gone: all of its opens are closed.
  void ReleaseMount(uint32_t mount);

  // Brings content: a small file whole into a slab, blocks of a larger one into its content file.
  Task<Result<void>> EnsureRange(uint64_t inode, uint64_t offset, uint64_t size);
  // The descriptor of the content file, -1 when there is none; `id` tells which use of it.
  int ContentFd(uint64_t inode, uint64_t* id) const;
  // Of what is in a content file and not empty.
  std::optional<FileEnd> End(uint64_t inode) const;

  // Bytes that a writer has sent through its daemon; where they went. EIO when the file was not
  // opened for writing. ENOSPC: not now, but they were accepted: to be tried again, from where
  // `progress` is then.
  Result<uint64_t> Write(uint64_t inode, uint64_t offset, std::span<const uint8_t> data,
                         int64_t time_ns, Placing placing = Placing::kAtOffset,
                         size_t* progress = nullptr);
  // Where `bytes` more go that are appended through a daemon. The next append is answered when
  // these are there, or will never be: none gets a place that another one is about to fill.
  Task<Result<uint64_t>> Append(AppendCall call, uint64_t inode, uint64_t bytes);
  // Nobody has heard the answer to that call.
  void ForgetAppend(const AppendCall& call, uint64_t inode);
  // Changes the size here; the caller logs the mutation.
  Task<Result<void>> Truncate(uint64_t inode, uint64_t size);
  void SetTimes(uint64_t inode, int64_t atime_ns, int64_t mtime_ns);
  // Gives the content file that time of access, and one of change after it: so the kernel moves it
  // at the next read.
  void ShowUnread(uint64_t inode, int64_t atime_ns);
  // Of the content file, which the kernel moves when it reads by passthrough. 0: the mount does not
  // have it open in that way.
  int64_t AccessTime(uint64_t inode, uint32_t mount);

  // contents_sparse.cc
  // fallocate(2) of a file that is open for writing; `call`: where it comes from. EOPNOTSUPP for
  // modes that FUSE does not know either.
  Result<void> Fallocate(uint64_t inode, uint64_t offset, uint64_t length, int mode,
                         const CallPlace& call);
  // lseek(2) with SEEK_DATA or SEEK_HOLE. REQUIRES: a regular file in the table.
  Task<Result<uint64_t>> Seek(uint64_t inode, uint64_t offset, int whence);

  // contents_copy.cc
  // copy_file_range(2) into a file that is open for writing; how much was copied, which may be
  // less: 0 behind the end of the source. EBADF, EINVAL, EFBIG, ENOSPC; ETIMEDOUT when the gateway
  // has the source and does not answer. `call`: where it comes from.
  Task<Result<uint64_t>> Copy(CopyRange range, CallPlace call);

  // Takes size and times of a file with writers from its content file into the record.
  void Refresh(uint64_t inode);
  // Queues what is dirty; the ticket to wait for, 0 when nothing is pending.
  Ticket Flush(uint64_t inode);
  // Queues everything dirty of the session.
  void FlushAll();
  // What the gateway has refused of the inode is to be sent once more, if it is safe in lost+found.
  Task<void> Retry(uint64_t inode);
  // Waits while another host's bytes are put in place of ours. An error: they could not be, and
  // what is here is nothing that could be sent.
  Task<Result<void>> AwaitReplaced(uint64_t inode);
  // The inode was taken for gone, and is not.
  void NotGone(uint64_t inode);
  // The inode is gone for good.
  void Destroy(uint64_t inode);
  // Gives up what is here of a file that nobody uses. False: it is in use, or not at the gateway.
  bool LetGo(uint64_t inode);
  // What the file of an inode takes there; 0: it has none.
  uint64_t DiskBytes(uint64_t inode) const;
  // Makes files ahead; after Adopt, if that is called.
  void Start();
  // Ends what runs by itself. REQUIRES: no mounts.
  void Stop();
  // Nothing is sealed any more once it returns: another broker takes the files over, and takes off
  // the seals that it finds.
  void EndSeals();
  // Takes the seal off the inode's file; one that is on its way is waited for, as long as the disk
  // needs to write the file.
  Task<void> AwaitUnsealed(uint64_t inode);

  // contents_sync.cc
  // The bytes of its content file are on stable storage when it returns; of its name and whose it
  // is only the journal's next sync says so. Fails: errno of fsync.
  Task<Result<void>> Sync(uint64_t inode, bool data_only);
  // From now on files stay until the journal has on stable storage that they are not needed: then
  // RemoveSynced is to be called. `soon`: there is something that waits for a sync.
  void KeepUntilSynced(std::function<void()> soon);
  void RemoveSynced();

  // Takes clean files that nobody has open from the disk; the bytes gained.
  // Gives up after `most_tries` of them that cannot go, and goes on there the next time.
  uint64_t EvictBytes(uint64_t bytes, size_t most_tries = SIZE_MAX);

  uint64_t dirty_bytes();
  uint64_t unsent_bytes() const { return unsent_.bytes(); }  // on the disk
  struct Unsent {
    uint64_t inode = 0;
    uint64_t bytes = 0;
    int64_t since_ns = 0;  // monotonic; 0: not known
    int error = 0;
  };
  // Files whose content the gateway does not have.
  std::vector<Unsent> ListUnsent() const;
  uint64_t file_bytes() const { return lru_bytes_; }  // of closed content files
  bool HasOpens(uint64_t inode) const;
  // It is open, and not all of its content is here.
  bool IsOpenInPart(uint64_t inode) const;
  // Somebody has it open for writing through that mount.
  bool HasWriter(uint64_t inode, uint32_t mount) const;
  // ... whose bytes come through its daemon, those of maps too.
  bool HasDaemonWriter(uint64_t inode, uint32_t mount) const;
  // Its content is in a content file, or it is open.
  bool HasFile(uint64_t inode) const { return Find(inode) != nullptr; }

  // What is here differs from what the gateway was sent ...
  bool IsDirty(uint64_t inode) const;
  // ... or may differ: only Flush() finds out what the kernel writes.
  bool MayBeDirty(uint64_t inode) const;
  // The gateway has these attributes: content of another version than theirs goes, or, where it is
  // in use by the kernel or a writer, is replaced in place. EAGAIN: it has changed once more.
  // REQUIRES: not dirty.
  Task<Result<void>> Replace(Attr attr);

  Task<Mutation> BuildWrite(uint64_t inode) override;
  int BuildError(uint64_t inode) const override;
  bool BuildsOnPending(uint64_t inode) const override;
  bool TakesLong(uint64_t inode) const override;
  bool HasMore(uint64_t inode) const override;
  void ForgetParts(uint64_t inode) override;
  Settled ContentSettled(uint64_t inode, int error) override;
  uint64_t ContentVersion(uint64_t inode) const override;
  bool MustMatch(uint64_t inode) const override;
  // A change of its size was refused.
  void CutRefused(uint64_t inode);
  // Others may have changed what is cached here, and have been told of it only in part.
  void DoubtVersions();
  void ContentApplied(uint64_t inode, uint64_t content_version, bool matched) override;

 private:
  // Where a range of a file came from. A hint: both may have changed since.
  struct CopiedFrom {
    uint64_t offset = 0;
    uint64_t length = 0;
    uint64_t source = 0;
    uint64_t source_offset = 0;
  };
  // Of an inode whose content is in a file, being fetched, or open.
  struct Node {
    uint64_t inode = 0;
    std::shared_ptr<ContentFile> file;
    std::unordered_map<uint32_t, uint32_t> passthrough_opens;  // by mount
    std::unordered_map<uint32_t, uint32_t> passthrough_writers;
    std::unordered_map<uint32_t, uint32_t> daemon_opens;  // those that asked the broker
    std::unordered_map<uint32_t, uint32_t> daemon_writers;
    uint32_t opening = 0;  // opens that wait for content: the file must not move meanwhile
    int sending = 0;       // workers that use the content file's descriptor
    int build_error = 0;   // of reading what was to be sent last
    bool loading_small = false;
    bool replacing = false;  // with what another host wrote; stays set when that failed
    bool replace_runs = false;
    int64_t left_ns = 0;   // the mtime that our last write into it left while it is replaced
    bool keeping = false;  // on its way to lost+found
    bool moving = false;   // ... with its file: nobody may open it meanwhile
    std::unique_ptr<Event> progress;  // of fetches
    int fetch_error = 0;
    uint64_t read_end = 0;   // where the last read ended: sequential readers continue there
    uint64_t readahead = 0;  // current window; 0: off
    // Until what was last told its place by Append() is there. It runs out when it is to be asked
    // whether that still comes.
    std::shared_ptr<boost::asio::steady_timer> appending;
    AppendCall append_call;
    uint64_t append_end = 0;
    std::chrono::steady_clock::time_point append_since;
    bool passthrough_used = false;        // since it was last idle: maps may outlive the opens
    bool dirty_hint = false;              // daemon writes since the last commit was built
    std::vector<CopiedFrom> copied_from;  // ... and copies
    int64_t dirty_since_ns = 0;
    int64_t last_change_ns = 0;
    FileStamp seen;               // at the last look of the debounce timer
    uint64_t charged = 0;         // bytes on disk that count as unsent
    uint64_t charged_before = 0;  // the most at the two looks before
    uint64_t charged_once = 0;    // at the look before
    bool in_lru = false;
    uint64_t lru_bytes = 0;
    std::list<uint64_t>::iterator lru;

    uint32_t writers() const;
    uint32_t opens() const;
  };
  using NodePtr = std::shared_ptr<Node>;

  NodePtr Find(uint64_t inode) const;
  NodePtr Get(uint64_t inode);
  void DropIfIdle(const NodePtr& node);

  // contents_adopt.cc
  bool AdoptFile(const AttachedRecord& attached, const shm::InodeRecord& record, bool written);

  // contents.cc
  Task<void> Refill();
  void PublishFile(const NodePtr& node);
  // Puts on record that the file belongs to the inode.
  Result<void> RecordFile(ContentFile* file, bool complete, bool written);
  // Puts on record that the file may get bytes which the gateway does not have; and that it has
  // none of those any more, if that is so.
  Result<void> NoteDirty(ContentFile* file);
  void NoteClean(const NodePtr& node);
  void SetFlags(uint64_t inode, uint32_t set, uint32_t clear);
  bool IsDirty(const Node& node) const;

  // contents_open.cc
  Result<OpenResult> OpenNow(MountPort* mount, const NodePtr& node, bool for_write, bool complete);
  Result<int32_t> BackingFor(MountPort* mount, ContentFile* file);
  void WriterGone(const NodePtr& node);
  void Closed(const NodePtr& node);
  void Watch(const NodePtr& node);

  // contents_cache.cc
  Result<void> MoveToFile(const NodePtr& node);
  void MoveToSlab(const NodePtr& node);
  Task<Result<void>> MakeWritable(const NodePtr& node);
  void Touch(const NodePtr& node);
  void LeaveLru(const NodePtr& node);
  void ParkSome();
  Result<std::shared_ptr<ContentFile>> TakeFile(uint64_t inode);
  bool MayLetGo(const NodePtr& node) const;
  void LetGo(const NodePtr& node);
  void Evict();

  // contents_write.cc
  void SetFileTimes(uint64_t inode, timespec atime, timespec mtime);

  // contents_append.cc
  void Reserve(const NodePtr& node, const AppendCall& call, uint64_t end);
  void AppendDone(const NodePtr& node);

  // contents_fetch.cc
  Task<Result<void>> LoadSmall(NodePtr node);
  Task<Result<void>> EnsureBlocks(NodePtr node, uint64_t first, uint64_t last);
  Task<void> FetchRun(NodePtr node, std::shared_ptr<ContentFile> file, uint64_t first,
                      uint64_t count);
  void StartFetches(const NodePtr& node, uint64_t first, uint64_t last);
  void ReadAhead(const NodePtr& node, uint64_t offset, uint64_t size);
  // All blocks are here.
  void Complete(const NodePtr& node);

  // contents_sparse.cc
  // Blocks that are zeros at the gateway need not be fetched. Asks for files with holes only.
  Task<void> MarkHoles(NodePtr node);
  Task<Result<Layout>> AskLayout(LayoutItem item);

  // contents_copy.cc
  Task<Result<uint64_t>> CopyInto(NodePtr target, CopyRange range, CallPlace call);
  Task<CopiedBytes> CopyFrom(NodePtr source, std::shared_ptr<ContentFile> to, CopyRange range);
  void Copied(const NodePtr& target, const std::shared_ptr<ContentFile>& to, const CopyRange& range,
              uint64_t count);
  void Remember(const CopyRange& range, uint64_t count);

  // contents_share.cc
  // Adds to the write what the gateway has as part of the files that it was copied from; returns
  // the dirty ranges that are left to be sent.
  Task<std::vector<ByteRange>> ShareCopied(NodePtr node, std::vector<ByteRange> dirty,
                                           OnRead on_read, WriteOp* op);
  // Where that version's bytes lie; EAGAIN: the gateway has another one. EOPNOTSUPP: it does not
  // tell.
  Task<Result<Layout>> AskBlocks(uint64_t inode, uint64_t version, uint64_t from, uint64_t to);

  // contents_refused.cc
  Task<void> Refused(NodePtr node, std::shared_ptr<ContentFile> file, int error);
  void DropRefused(const NodePtr& node);
  Task<void> NotMoving(uint64_t inode);

  // contents_sync.cc
  void Released(ContentFile* file);

  // contents_space.cc
  uint64_t Charge(const NodePtr& node);  // returns what the file takes on disk
  void LoseFile(const NodePtr& node);    // resets node->file
  // How long until the files that the kernel writes into are to be looked at, and that look.
  std::chrono::nanoseconds LookEvery() const;
  void LookAtKernelWrites();
  void SealGrowing();
  Task<void> Seal(NodePtr node, std::shared_ptr<PendingSeal> seal);
  void Unseal(const NodePtr& node);
  Task<void> AwaitUnsealed(NodePtr node);
  bool EvictOne(uint64_t inode);
  bool MakeRoom(uint64_t bytes);

  // contents_remote.cc
  static bool WrittenHere(const Node& node);
  void KeepMixture(const NodePtr& node);
  void DropFile(const NodePtr& node);
  Task<Result<void>> ReplaceInPlace(NodePtr node, Attr attr);

  // contents_commit.cc
  Task<void> AfterSettled(uint64_t inode);
  Task<void> Debounce();
  // errno of the content file, 0 when all of it could be read.
  // `truncations`: as counted when it was decided that no cut is queued.
  Task<int> BuildSmall(const NodePtr& node, const FileStamp& stamp, uint64_t truncations,
                       WriteOp* op);
  // `from`: where this part begins.
  Task<int> BuildLarge(const NodePtr& node, uint64_t from, const FileStamp& stamp,
                       uint64_t truncations, WriteOp* op);

  boost::asio::any_io_executor executor_;
  Tasks* tasks_;
  boost::asio::thread_pool* workers_;
  InodeCache* inodes_;
  Gateway* gateway_;
  MountSet* mounts_;
  SessionJournal* journal_;
  MutationLog* log_ = nullptr;
  RefreshStale refresh_stale_;
  KeepRefused keep_refused_;
  ContentsOptions options_;
  SessionLimits limits_;
  ContentPool pool_;
  std::unordered_map<uint64_t, NodePtr> nodes_;
  // Inodes whose file may be dirty: those that are `needed`. Others may be among them.
  bool evicting_ = false;
  std::unordered_set<uint64_t> maybe_dirty_;
  struct Held {
    uint64_t lsn = 0;  // of the journal, when it may go
    std::string path;
  };
  std::deque<Held> held_;
  std::function<void()> sync_soon_;  // set: files are held
  SpoolBudget::Share unsent_;
  std::unordered_set<uint64_t> sealed_;
  std::optional<boost::asio::thread_pool> sealers_;
  int64_t debounce_at_ns_ = 0;
  bool stopped_ = false;
  std::unordered_set<uint64_t> watched_;  // inodes with writers or maps, for the debounce timer
  bool debounce_running_ = false;
  boost::asio::steady_timer debounce_timer_;
  bool refill_queued_ = false;
  std::list<uint64_t> lru_;                              // closed content files, oldest first
  std::list<uint64_t>::iterator lru_hand_ = lru_.end();  // where EvictBytes goes on
  uint64_t lru_bytes_ = 0;
};

}  // namespace airstore::broker
