// SPDX-License-Identifier: Apache-2.0
//
// Every struct that lies in shared memory, and nothing else. layout_check.cc pins all sizes and
// offsets; tests/unit/shm pins the ABI numbers.
//
// Rules: fixed-width integers, std::atomic of them, and arrays; no padding; offsets and indexes
// instead of pointers; `reserved` is 0; words of different writers are kLine bytes apart. "Records"
// are plain values that lie inside an entry as atomic words and are copied out under its sequence
// lock (seqlock.h). Beside each field or struct: who writes it.
//
// Bump kAbiMajor when a size, an offset or a meaning changes; kAbiMinor when a reserved word gets
// one, or there is an operation more.
//
//   meta   memfd, broker writes, frontends map it read-only
//          | SegmentHeader | MetaGeometry | MetaState | inode buckets | dentry buckets |
//          | InodeEntry[] | DentryEntry[] | LongName[] |
//   slab   memfd, broker writes, frontends map it read-only
//          | SegmentHeader | extents ... |
//   lane   spool file, one frontend and the broker write
//          | SegmentHeader | LaneCursors | QueueRecord[] | RequestSlot[] | HazardSlot[] |
//          | counters | histograms | RequestTrace[] | OpeningMessage | ReadLog | InodeUse[] |
//   arena  spool file, one frontend writes, the broker reads
//          | SegmentHeader | payload ring ... |
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace airstore::shm {

inline constexpr uint32_t kAbiMajor = 6;
inline constexpr uint32_t kAbiMinor = 0;
inline constexpr uint64_t kMagic = 0x65726f7473726961;  // "airstore" in memory order
inline constexpr size_t kLine = 128;                    // two cache lines: prefetchers pair them
inline constexpr uint64_t kRootInode = 1;
inline constexpr uint32_t kNoIndex = 0;  // entry index 0 is never used

enum class SegmentKind : uint32_t { kMeta = 1, kSlab = 2, kLane = 3, kArena = 4 };

// Writer: the creator (broker), before it stores `ready`. Up to creator_start_ticks every ABI has
// the same.
struct SegmentHeader {
  uint64_t magic;
  uint32_t abi_major;
  uint32_t abi_minor;
  uint32_t kind;          // SegmentKind
  uint32_t header_bytes;  // sizeof(SegmentHeader)
  uint64_t total_bytes;
  uint8_t session_id[16];
  uint32_t creator_pid;
  uint32_t index;                // slab number, or mount number within the session
  uint64_t creator_start_ticks;  // /proc/PID/stat field 22: tells a reused pid apart
  uint8_t reserved[kLine - 64];
  std::atomic<uint32_t> ready;  // kSegmentReady, stored last with release
  uint32_t reserved_tail[31];
};
inline constexpr uint32_t kSegmentReady = 0x79646572;  // "redy"

// ---- meta -----------------------------------------------------------------------------------

// Writer: the broker, before `ready`. Offsets count from the start of the segment.
struct MetaGeometry {
  uint32_t inode_buckets;  // powers of two
  uint32_t dentry_buckets;
  uint32_t inode_capacity;
  uint32_t dentry_capacity;
  uint32_t long_name_capacity;
  uint32_t reserved;
  uint64_t inode_buckets_offset;  // of std::atomic<uint32_t>[inode_buckets]: first entry's index
  uint64_t dentry_buckets_offset;
  uint64_t inodes_offset;
  uint64_t dentries_offset;
  uint64_t long_names_offset;
  uint64_t state_offset;
  uint8_t reserved_tail[kLine - 72];
};

// Which table the record that is being written belongs to.
enum class MetaIntent : uint32_t { kNone = 0, kInode = 1, kDentry = 2 };

inline constexpr size_t kMaxRecordWords = 31;  // of InodeRecord, the larger one

// What a broker that adopts the segment needs to finish what the dead one was in the middle of.
// Writer: the broker; readers have no use for it. One change of the tables is one record that says
// it all (the rest can be told from the records), so a copy of one record is enough.
struct MetaState {
  // Number of the last journal record whose change is in the tables as a whole. 0: none.
  std::atomic<uint64_t> applied_lsn;
  // Directory whose listing is being dropped, name by name. 0: none.
  std::atomic<uint64_t> dropping;
  std::atomic<uint32_t> intent;  // MetaIntent: `words` is to be the record at `index`
  std::atomic<uint32_t> index;
  std::atomic<uint64_t> words[kMaxRecordWords];
  uint64_t reserved[14];
};

// Where a file's content is on this host.
enum class ContentKind : uint32_t {
  kNone = 0,  // not here: ask the broker
  kSlab = 1,  // whole, clean, immutable, in a slab extent (also symlink targets)
  kFile = 2,  // in a content file; complete iff kContentComplete
};

enum InodeFlags : uint32_t {
  kContentComplete = 1u << 0,    // content file: every block is valid
  kPassthroughWriter = 1u << 1,  // size and times are the content file's: ask the broker
  kPassthroughOpen = 1u << 2,    // open in passthrough on some mount: every open asks the broker
  kListingComplete = 1u << 3,    // directory: its dentry chain is the whole listing
  kOrphan = 1u << 4,             // no name left; lives while a mount knows it
  kNameless = 1u << 5,           // an orphan that never had a name: it may still get one
  kHasLocks = 1u << 6,           // somebody holds a lock: the broker is told of closes
  kHadLocks = 1u << 7,           // or did since the inode is in the table: closes come as requests
  // Its attributes, or names in it, are about to change: what is told of them meanwhile must not be
  // kept, because who keeps it is not told of the change any more.
  kChanging = 1u << 8,
  kSizeUnknown = 1u << 9,  // size is 0 until somebody has read it: opens, and kGetattr, find it out
};

// One file. Writer: the broker.
struct InodeRecord {
  uint64_t inode;  // 0: entry not in use
  uint64_t generation;
  uint32_t mode;
  uint32_t nlink;
  uint32_t uid;
  uint32_t gid;
  uint64_t size;
  uint64_t rdev;
  uint64_t allocated_bytes;
  int64_t atime_ns;
  int64_t mtime_ns;
  int64_t ctime_ns;
  int64_t btime_ns;
  uint64_t known_by;      // bit m: mount m may hold this inode in its kernel's caches
  uint32_t flags;         // InodeFlags
  uint32_t write_error;   // errno of a failed write-back, for the next fsync or close; 0: none
  uint32_t content_kind;  // ContentKind
  uint32_t content_generation;  // changes with every change of content or of its place
  uint64_t content_file;        // kFile: id of the content file
  uint64_t extent_offset;       // kSlab: from the start of the slab segment
  uint32_t slab_index;
  uint32_t extent_bytes;  // kSlab: length of the content
  uint32_t dir_first;     // directory: first and last dentry of its chain (kNoIndex: none)
  uint32_t dir_last;
  uint64_t dir_next_cookie;  // next readdir cookie to be given; cookies ascend along the chain
  uint32_t dir_entries;
  uint32_t xattr_count;      // 0: it has no extended attributes
  uint64_t content_version;  // the gateway's, of the attributes here; 0: not known
  uint64_t reserved[10];
};

template <typename Record>
struct Entry {
  static_assert(sizeof(Record) % 8 == 0);
  std::atomic<uint32_t> sequence;   // odd: being written
  std::atomic<uint32_t> hash_next;  // next entry of the bucket
  std::atomic<uint64_t> words[sizeof(Record) / 8];
};
using InodeEntry = Entry<InodeRecord>;

inline constexpr size_t kInlineName = 64;
inline constexpr size_t kMaxName = 255;

// One name in a directory. Writer: the broker.
struct DentryRecord {
  uint64_t parent;  // 0: entry not in use
  uint64_t inode;   // 0: negative, the name is known not to exist
  uint64_t cookie;  // readdir offset of the entry *behind* this one is cookie; > 0; negative: 0
  uint32_t name_hash;
  uint32_t dir_previous;  // chain of the parent's listing, by ascending cookie
  uint32_t dir_next;
  uint32_t type;  // S_IFMT bits of the inode's mode >> 12 (DT_*)
  uint32_t name_bytes;
  uint32_t long_name;  // index into LongName[]; kNoIndex: the name is inline
  uint64_t reserved;
  uint8_t name[kInlineName];
};
using DentryEntry = Entry<DentryRecord>;

// Names longer than kInlineName; guarded by the dentry's sequence. Writer: the broker.
struct LongName {
  std::atomic<uint64_t> words[32];
};

// ---- lane -----------------------------------------------------------------------------------

inline constexpr uint32_t kQueueRecords = 1024;
inline constexpr uint32_t kRequestSlots = 64;
inline constexpr uint32_t kHazardSlots = 128;
inline constexpr uint32_t kCounterWords = 64;
inline constexpr uint32_t kHistogramRows = 16;
inline constexpr uint32_t kHistogramBuckets = 48;  // bucket b: [2^b, 2^(b+1)) ns
inline constexpr uint32_t kMaxMounts = 64;         // of one session: the bits of known_by

inline constexpr uint32_t kWriteGateClosed = UINT32_MAX;

struct LaneCursors {
  // Writer: the broker.
  std::atomic<uint64_t> applied;        // queue records consumed and applied
  std::atomic<uint64_t> arena_applied;  // arena ring bytes that may be overwritten
  std::atomic<uint32_t> mounts;         // mounts of the session: > 1 makes writers look at known_by
  uint32_t inode_uses;                  // length of InodeUse[] (= MetaGeometry::inode_capacity)
  uint32_t mount_index;                 // this mount's bit in known_by
  std::atomic<uint32_t> synchronous;    // 1: a writer's close waits for the broker
  std::atomic<uint32_t> write_gate;     // before a write is accepted: microseconds to wait for each
                                        // MiB; kWriteGateClosed: until it opens
  std::atomic<uint32_t> write_stall_ms;  // how long it may be closed before writes fail
  std::atomic<int64_t> write_closed_ns;  // since when it is, CLOCK_MONOTONIC
  std::atomic<uint64_t> taken;  // queue records that a broker has looked at: grows while one lives
  std::atomic<uint32_t> patience_ms;  // how long a request waits for a broker; 0: for ever
  uint8_t reserved_broker[kLine - 60];
  // Writers: both. 1: the broker sleeps, whoever swaps it to 0 writes the eventfd.
  std::atomic<uint32_t> broker_sleeps;
  uint8_t reserved_sleep[kLine - 4];
  // Writers: both. 1: threads of the frontend wait for `applied` to advance or for a request slot;
  // the broker swaps it to 0 and wakes them.
  std::atomic<uint32_t> frontend_waits;
  // Writers: both, by adding. Futex word of those threads, bumped with each wake.
  std::atomic<uint32_t> progress;
  uint8_t reserved_wait[kLine - 8];
  // Writer: the frontend. Hazard slots from this one on have never been used.
  std::atomic<uint32_t> hazards_used;
  uint8_t reserved_hazards[kLine - 4];
};

enum class QueueOp : uint32_t {
  kNone = 0,       // void: reserved by a frontend that died before it wrote the record
  kCall = 1,       // slot: a request slot is submitted
  kWrite = 2,      // inode, offset, length, arena_position: bytes in the arena
  kRelease = 3,    // inode, flags (OpenMode): a passthrough or daemon-mode writer was closed
  kForget = 4,     // inode: an orphan's lookup count fell to 0
  kInterrupt = 5,  // unique: the client does not want to wait for that request any more
  kTouch = 6,  // inode, time_ns: it was read then, and its time of access is due (access_time.h)
  kReads = 7,  // there is something in the ReadLog; flags: 1 = it is half full
};

// Writer: the frontend. In use while `position` is its place in the endless queue + 1, which is
// stored last with release.
struct QueueRecord {
  std::atomic<uint64_t> position;
  uint32_t op;  // QueueOp
  uint32_t slot;
  uint64_t inode;
  uint64_t offset;
  uint64_t arena_position;  // endless position; ring offset is modulo the ring's size
  uint32_t length;
  uint32_t flags;
  int64_t time_ns;
  uint64_t unique;  // kRelease, kInterrupt: the protocol's request number, 0: none
};

enum class Op : uint32_t {
  kNone = 0,
  kLookup = 1,        // inode = parent, name
  kGetattr = 2,       // inode
  kSetattr = 3,       // inode, valid (SetattrValid), mode, uid, gid, size, atime_ns, mtime_ns
  kReadlink = 4,      // inode: makes the target present in a slab
  kMknod = 5,         // inode = parent, name, mode, rdev
  kMkdir = 6,         // inode = parent, name, mode
  kUnlink = 7,        // inode = parent, name
  kRmdir = 8,         // inode = parent, name
  kSymlink = 9,       // inode = parent, name, name2 = target
  kRename = 10,       // inode = parent, name, inode2 = new parent, name2, flags of renameat2(2)
  kLink = 11,         // inode, inode2 = new parent, name
  kOpen = 12,         // inode, flags = open(2) flags
  kCreate = 13,       // inode = parent, name, mode, flags = open(2) flags
  kFsync = 14,        // inode, flags: 1 = data only
  kFlush = 15,        // inode: returns a pending write-back error
  kReadRange = 16,    // inode, offset, size: makes the range valid in the content file
  kContentFd = 17,    // inode: sends a read-only descriptor of the content file over the channel
  kLoadListing = 18,  // inode: makes the directory's chain complete
  kStatfs = 19,

  kGetxattr = 32,     // inode, name; its value comes as text
  kListxattr = 33,    // inode; the names come as text, each with a NUL
  kSetxattr = 34,     // inode, name, name2 = value, flags of setxattr(2), valid: kKillSgid
  kRemovexattr = 35,  // inode, name
  kFallocate = 36,    // inode, offset, size, flags of fallocate(2)
  kSeek = 37,         // inode, offset, flags: SEEK_DATA or SEEK_HOLE; offset in the reply's value
  kTmpfile = 38,      // inode = parent, mode, flags = open(2) flags: a file without a name
  // Locks. inode, inode2 = owner, offset = first byte, size = last byte, flags (LockFlags),
  // mode = pid to show to others; what of it counts:
  kSetLock = 20,  // all; rdev = handle of the open file. The answer may come later, see kDeferred
  kGetLock = 21,  // all: what stands in the way, in `lock`
  kFlushLocks = 22,    // inode, inode2, rdev: a descriptor is closed; ranges of that owner go
  kReleaseLocks = 23,  // inode, rdev: the open file is; all that was locked through it goes
  // inode, size: bytes that a kWrite will bring; the reply says where they go
  kAppend = 48,
  // inode, offset: source; inode2, rdev: target and offset there; size. What was copied, which may
  // be less, in the reply's value
  kCopyRange = 49,
};

enum LockFlags : uint32_t {
  kLockShared = 1u << 0,  // neither this nor the next: unlock
  kLockExclusive = 1u << 1,
  kLockFlock = 1u << 2,  // of the whole file, of the open file; else a range
  kLockWait = 1u << 3,   // until it can be had
  kLockFlagsMask = 15,
};

// RequestReply::value of kSetLock: the broker will answer the protocol's request itself.
inline constexpr uint64_t kDeferred = 1;

enum SetattrValid : uint32_t {
  kSetMode = 1u << 0,
  kSetUid = 1u << 1,
  kSetGid = 1u << 2,
  kSetSize = 1u << 3,
  kSetAtime = 1u << 4,
  kSetMtime = 1u << 5,
  kSetCtime = 1u << 6,
  // As a write or a change of owner does: set-user-id, and set-group-id with group execution.
  kKillSetId = 1u << 7,
  kKillSgid = 1u << 8,  // of kSetxattr: set-group-id does not survive an access control list
};

// How an open file's data travels (RequestReply::open_mode, QueueRecord::flags of kRelease).
enum OpenMode : uint32_t {
  kOpenCached = 0,       // through the daemon and the kernel's page cache
  kOpenPassthrough = 1,  // backing_id
  kOpenDirect = 2,       // through the daemon, no page cache
  kOpenModeMask = 3,
  kOpenForWrite = 1u << 8,
};

struct RequestArgs {
  uint32_t op;  // Op
  uint32_t flags;
  uint64_t unique;  // the protocol's request number; tells a call that is made again
  uint64_t inode;
  uint64_t inode2;
  uint64_t offset;
  uint64_t size;
  uint32_t valid;  // SetattrValid
  uint32_t mode;
  uint32_t uid;  // of the caller
  uint32_t gid;
  uint32_t pid;
  uint32_t umask;
  uint32_t set_uid;
  uint32_t set_gid;
  uint64_t rdev;
  int64_t atime_ns;
  int64_t mtime_ns;
  uint32_t name_bytes;   // name lies at text[0]
  uint32_t name2_bytes;  // name2 lies behind it
};

struct RequestReply {
  int32_t error;  // errno, 0: success
  uint32_t open_mode;
  int32_t backing_id;
  uint32_t inode_index;  // of `attr` in InodeEntry[]; kNoIndex: it is not in the table
  uint64_t value;        // kContentFd: the content file's id; kSeek: the offset; kCopyRange: bytes
  union {
    uint64_t statfs[6];  // total, free bytes; total, free inodes; block size; 0
    uint64_t lock[6];    // kGetLock: LockFlags, 0: nothing; first, last byte; pid; 0; 0
  };
  uint32_t text_bytes;  // of what the broker has put behind the names in the slot's text
  uint32_t reserved;
  InodeRecord attr;  // valid when error is 0 and the operation has a target
};

// The longest value of an extended attribute and a name.
inline constexpr size_t kRequestText = 65536 + 512;
inline constexpr size_t kRequestSlotBytes = 17 * 4096;

enum class SlotState : uint32_t { kFree = 0, kSubmitted = 1, kDone = 2 };
// The frontend's notes, beside kSubmitted. To its own waiting thread: ask whether to go on waiting.
inline constexpr uint32_t kSlotPoked = 1u << 31;
// To the broker: nobody waits any more. What has not begun need not begin, and what the call opens
// is to be closed.
inline constexpr uint32_t kSlotGivenUp = 1u << 30;
// Without the notes.
constexpr SlotState StateOf(uint32_t word) {
  return static_cast<SlotState>(word & ~(kSlotPoked | kSlotGivenUp));
}

// A call and its answer. Free -> Submitted by the frontend (with a kCall record), Submitted -> Done
// by the broker, Done -> Free by the frontend: after a call that changes something only when the
// protocol's client has the answer, so that a successor who is sent the request again finds it
// here.
struct RequestSlot {
  std::atomic<uint32_t> state;  // SlotState [| notes]; futex word
  uint32_t reserved0;
  // Writer: the frontend. Place in the endless queue + 1 of the kCall record, before that is
  // published; 0: none yet. Tells a new broker whether the old one had taken the call.
  std::atomic<uint64_t> position;
  uint32_t reserved[28];
  RequestArgs args;            // writer: the frontend while Free; the broker copies it once
  RequestReply reply;          // writer: the broker while Submitted
  uint8_t text[kRequestText];  // names: the frontend while Free; behind them: the broker, as reply
  uint8_t reserved_tail[kRequestSlotBytes - 128 - sizeof(RequestArgs) - kRequestText -
                        sizeof(RequestReply)];
};

// Writer: one frontend thread. Names the slab extent it is handing to the kernel; 0: none.
struct HazardSlot {
  std::atomic<uint64_t> extent;  // HazardKey(slab, offset)
  uint8_t reserved[kLine - 8];
};

constexpr uint64_t HazardKey(uint32_t slab_index, uint64_t extent_offset) {
  return (static_cast<uint64_t>(slab_index) + 1) << 40 | extent_offset;
}

// What this mount's kernel holds of the inode at the same index of InodeEntry[]. Writer: the
// frontend, but for `used`.
struct InodeUse {
  std::atomic<uint32_t> lookups;            // lookup count
  std::atomic<uint32_t> opens;              // open files served by the daemon (not passthrough)
  std::atomic<uint32_t> cached_generation;  // content_generation of the pages the kernel may hold
  // Writers: both. 1: it was looked up since the broker, which looks for what nobody uses, last
  // stored 0.
  std::atomic<uint32_t> used;
};

// What a frontend has done by itself for a request, without a call.
enum class LocalEffect : uint32_t {
  kNone = 0,
  kLookup = 1,     // a lookup was counted at inode_index
  kOpen = 2,       // an open was counted at inode_index
  kReleasing = 3,  // a kRelease record with the request's number may lie in the queue
  kReleased = 4,   // the end of the open was counted, or its kRelease record was queued
};

// One request that a frontend serves, for the successor who is sent it again. Writer: one frontend
// thread.
struct RequestTrace {
  std::atomic<uint64_t> unique;   // the protocol's request number; 0: not in use
  std::atomic<uint32_t> waiting;  // 1: for the broker, or to be sent again: ends no process
  std::atomic<uint32_t> effect;   // LocalEffect
  std::atomic<uint32_t> inode_index;
  uint8_t reserved[kLine - 20];
};

inline constexpr uint32_t kRequestTraces = 128;
inline constexpr size_t kOpeningBytes = 256;

// How the protocol's client opened the conversation (FUSE: INIT). Writer: the mount's first
// frontend, once the client has had its answer.
struct OpeningMessage {
  std::atomic<uint32_t> bytes;             // stored last; 0: none yet
  std::atomic<uint32_t> greatest_request;  // of all requests so far, in bytes. Writer: any frontend
  uint8_t reserved[kLine - 8];
  uint8_t data[kOpeningBytes];
};

// Where a read found its bytes.
enum class ReadSource : uint16_t {
  kShared = 0,   // a slab: memory that all mounts share
  kContent = 1,  // a content file
  kFetched = 2,  // a content file, after the broker had got them
  kNowhere = 3,  // behind the end, or the read failed
};

inline constexpr uint32_t kReadEvents = 4096;

// A read that was answered. Writer: one frontend thread.
struct ReadEvent {
  std::atomic<uint64_t> position;  // place in the endless log + 1, stored last with release
  uint64_t inode;
  uint64_t offset;
  int64_t time_ms;  // Unix time of the answer
  uint32_t requested;
  uint32_t bytes;  // of the answer
  uint32_t latency_us;
  uint16_t source;  // ReadSource
  uint16_t error;   // errno
};

// What was read, for those who want to know: a ring, which leaves out what finds no room. Nobody
// waits for it.
struct ReadLog {
  // Writer: the broker.
  std::atomic<uint32_t> wanted;  // 1: reads are noted
  uint32_t reserved;
  std::atomic<uint64_t> taken;  // events that may be overwritten
  uint8_t reserved_broker[kLine - 16];
  // Writers: frontend threads.
  std::atomic<uint64_t> next;      // place of the next event
  std::atomic<uint64_t> left_out;  // there was no room for
  // Writers: both. 1: a kReads record is on its way; the broker stores 0 before it looks.
  std::atomic<uint32_t> announced;
  uint8_t reserved_frontend[kLine - 20];
  ReadEvent events[kReadEvents];
};

struct LaneLayout {
  SegmentHeader header;
  LaneCursors cursors;
  QueueRecord queue[kQueueRecords];
  RequestSlot slots[kRequestSlots];
  HazardSlot hazards[kHazardSlots];
  std::atomic<uint64_t> counters[kCounterWords];                        // counters.h names them
  std::atomic<uint64_t> histograms[kHistogramRows][kHistogramBuckets];  // ditto
  RequestTrace traces[kRequestTraces];
  OpeningMessage opening;
  ReadLog reads;
  // InodeUse[cursors.inode_uses] follows.
};

}  // namespace airstore::shm
