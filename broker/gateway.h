// SPDX-License-Identifier: Apache-2.0
//
// Gateway: what the broker needs of a gateway, in its own types. One object is one session on one
// workspace. proto/airstore/storage/v2/storage.proto documents the meaning of each field.
//
// Threads: every method is called and resumed on the event loop.
// Fails: ENOSYS the gateway does not speak this protocol; transport and call errors are errnos:
// EAGAIN not reached or overloaded, try again; EACCES token refused; ENOENT no such workspace;
// ESTALE the gateway does not know the session; EKEYEXPIRED the lease of a batch has ended, nothing
// was applied; EBUSY a batch is in the way of a lease that another host has still to give back,
// try again; EPROTO the answer makes no sense; EIO the rest.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "broker/gateway_services.h"
#include "broker/lock_table.h"
#include "broker/task.h"
#include "shm/base/result.h"
#include "shm/base/wipe.h"

namespace airstore::broker {

struct Attr {
  uint64_t inode = 0;
  uint64_t generation = 0;
  uint32_t mode = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t nlink = 0;
  uint64_t size = 0;
  bool size_unknown = false;  // until its content was read; size is 0
  uint64_t rdev = 0;
  int64_t atime_ns = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;
  int64_t btime_ns = 0;
  uint64_t version = 0;
  uint64_t content_version = 0;
  uint64_t allocated_bytes = 0;
  uint32_t xattr_count = 0;
  // The directory that has all its names; 0: of what has, or once had, names in several.
  uint64_t parent = 0;
  std::string symlink_target;
};

using Xattrs = std::map<std::string, std::string, std::less<>>;  // values by name

struct DirEntry {
  std::string name;
  Attr attr;
  bool inlined = false;  // content is the whole content
  std::string content;
  bool name_only = false;  // of a listing: whoever wants the attributes asks for them
};

struct BlockId {
  std::array<uint8_t, 16> bytes{};

  bool operator==(const BlockId&) const = default;
};
// Where bytes lie in a stored block.
using BlockPlace = std::pair<BlockId, uint64_t>;

struct LookupItem {
  uint64_t parent = 0;
  std::string name;
  uint64_t inline_bytes = 0;
};
struct GetattrItem {
  uint64_t inode = 0;
  uint64_t inline_bytes = 0;
};
struct ListItem {
  uint64_t inode = 0;
  std::string after;
  uint64_t inline_bytes = 0;
  uint64_t inline_budget = 0;
};
struct XattrsItem {  // all of them
  uint64_t inode = 0;
};
struct LayoutItem {
  uint64_t inode = 0;
  uint64_t offset = 0;
  bool blocks = false;  // in which they are, too
};
using ResolveItem = std::variant<LookupItem, GetattrItem, ListItem, XattrsItem, LayoutItem>;

// Where a file has content, from an offset on; the rest is zeros.
struct Layout {
  struct Run {
    uint64_t offset = 0;
    uint64_t length = 0;
  };
  std::vector<Run> runs;  // ascending
  // Of each run, when asked for; none: this gateway does not tell.
  std::vector<BlockPlace> blocks;
  bool end = false;  // there is nothing behind them
  uint64_t content_version = 0;
  uint64_t size = 0;
};

struct ResolveResult {
  int error = 0;
  DirEntry entry;                 // lookup, getattr
  Attr directory;                 // list
  std::vector<DirEntry> entries;  // list
  bool end = false;               // list
  Xattrs xattrs;                  // xattrs
  Layout layout;                  // layout
};

struct FetchedRange {
  uint64_t offset = 0;
  uint64_t length = 0;
  std::string data;  // empty: a hole
};
struct Fetched {
  std::vector<FetchedRange> ranges;
  uint64_t content_version = 0;  // of all of them
};

struct WriteExtent {
  uint64_t offset = 0;
  uint64_t length = 0;
  // Inline bytes, a stored block (with the offset in it), or a hole.
  std::variant<std::string, BlockPlace, std::monostate> source;
};

struct CreateOp {
  uint64_t parent = 0;
  std::string name;
  uint64_t inode = 0;
  uint32_t mode = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t rdev = 0;
  std::string symlink_target;
  Xattrs xattrs = {};
};
struct LinkOp {
  uint64_t inode = 0;
  uint64_t parent = 0;
  std::string name;
};
struct UnlinkOp {
  uint64_t parent = 0;
  std::string name;
  bool directory = false;
  uint64_t inode = 0;
};
struct RenameOp {
  uint64_t old_parent = 0;
  std::string old_name;
  uint64_t new_parent = 0;
  std::string new_name;
  uint32_t flags = 0;     // RENAME_NOREPLACE or RENAME_EXCHANGE
  uint64_t whiteout = 0;  // inode of the device that takes the old name; 0: none
  uint32_t whiteout_uid = 0;
  uint32_t whiteout_gid = 0;
  // What is meant by the old name, and of an exchange by the new one; 0: whatever is there.
  uint64_t inode = 0;
  uint64_t exchanged = 0;
};
struct SetattrOp {
  uint64_t inode = 0;
  std::optional<uint32_t> mode;
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
  std::optional<uint64_t> size;
  std::optional<int64_t> atime_ns;
  std::optional<int64_t> mtime_ns;
  std::optional<int64_t> ctime_ns;
};
struct WriteOp {
  uint64_t inode = 0;
  std::vector<WriteExtent> extents;
  std::optional<uint64_t> size;
  std::optional<int64_t> mtime_ns;
};
struct TouchOp {
  uint64_t inode = 0;
};
struct SetXattrOp {
  uint64_t inode = 0;
  std::string name;
  std::string value;
  std::optional<uint32_t> mode = {};  // changes with it
};
struct RemoveXattrOp {
  uint64_t inode = 0;
  std::string name;
};

struct Mutation {
  uint64_t sequence = 0;
  int64_t time_ns = 0;
  uint64_t if_inode = 0;
  uint64_t if_content_version = 0;
  std::variant<CreateOp, LinkOp, UnlinkOp, RenameOp, SetattrOp, WriteOp, TouchOp, SetXattrOp,
               RemoveXattrOp>
      op;
};

struct MutationResult {
  uint64_t sequence = 0;
  int error = 0;
  uint64_t content_version = 0;  // of the file made or changed, afterwards; 0: not told
};

struct SessionLimits {
  uint64_t block_bytes = 4u << 20;
  uint64_t max_fetch_bytes = 4u << 20;
  uint64_t max_inline_bytes = 64u << 10;
  uint32_t max_batch_mutations = 1000;
  uint64_t max_batch_bytes = 4u << 20;
  uint64_t max_file_bytes = 1ull << 60;
  uint32_t session_seconds = 60;
};

// What a gateway has beside storage.
struct OfferedServices {
  bool tools = false;
  bool sources = false;
  bool tasks = false;
  bool access_log = false;  // it wants to be told what is read

  bool operator==(const OfferedServices&) const = default;
};

struct OpenedSession {
  std::string workspace_id;
  std::string workspace_name;
  std::string principal;
  bool resumed = false;
  uint64_t last_applied_sequence = 0;
  Attr root;
  uint64_t first_inode = 0;
  uint64_t inode_count = 0;
  uint64_t lease_id = 0;  // 0: no write lease
  uint64_t watch_cursor = 0;
  SessionLimits limits;
  bool read_only = false;
  std::optional<OfferedServices> services;  // none: the gateway does not say
};

struct StatFs {
  uint64_t total_bytes = 0;
  uint64_t free_bytes = 0;
  uint64_t total_inodes = 0;
  uint64_t free_inodes = 0;
  uint64_t quota_bytes = 0;  // 0: none
  uint64_t quota_inodes = 0;
};

struct AcquiredLease {
  uint64_t lease_id = 0;       // 0: not granted
  uint64_t inode = 0;          // the root, or the zone that it is of
  bool held_by_other = false;  // somebody has still to give it back
  uint64_t watch_cursor = 0;   // events up to this one are what was before the grant
};

struct WatchEvent {
  struct Name {
    uint64_t parent = 0;
    std::string name;
  };
  uint64_t cursor = 0;
  bool gap = false;           // events were lost
  uint64_t lease_recall = 0;  // id of the lease to give back; 0: none
  uint64_t lock_freed = 0;    // inode of which a lock can be had; 0: none
  uint64_t forget = 0;        // zone that another session wants for itself; 0: none
  std::vector<uint64_t> inodes = {};
  std::vector<Name> names = {};
  // Nobody said that something changed, but what was told of these, and of all names in these
  // directories, is not to be believed any more.
  bool aged = false;
  std::vector<uint64_t> directories = {};
};

// What other sessions do, as it comes.
class WatchStream {
 public:
  virtual ~WatchStream() = default;  // ends the stream
  // Waits for the next event; an error ends the stream. One call at a time; no call may be under
  // way when the stream is destroyed.
  virtual Task<Result<WatchEvent>> Next() = 0;
  // Next() fails soon.
  virtual void Cancel() = 0;
};

struct LockAsk {
  uint64_t wait = 0;     // number under which it is waited for; 0: it is not
  bool process = false;  // its owner can do nothing else meanwhile
  bool test = false;     // only that
};
struct LockVerdict {
  int error = 0;  // EAGAIN: held by another; EDEADLK; ENOLCK
  std::optional<LockRange> conflict;
  bool assert_first = false;  // nothing was done: AssertLocks, then again
};
struct AssertedLocks {
  bool lapsed = false;  // none is held any more
  std::vector<LockCall> lost;
};

// What a protocol can say. What it cannot is refused before it is tried.
struct GatewayTraits {
  struct Owner {
    uint32_t uid = 0;
    uint32_t gid = 0;
  };
  std::string protocol = "v2";
  bool lone_locks = false;     // locks of other hosts are not known
  bool zones = true;           // directories of the root have leases
  std::optional<Owner> owner;  // of everything; none: each file has its own
  bool modes = true;
  bool times = true;  // other than "now"
  bool hard_links = true;
  bool special_files = true;
  bool xattrs = true;
  bool exchange = true;         // and whiteouts
  bool any_names = true;        // also such as are no UTF-8
  bool first_era = false;       // what it has beside storage is known by names in lower case
  bool shows_all_names = true;  // in listings; else not those of other systems' helpers
  bool keeps_nameless = true;   // the content of what has lost its last name can still be fetched
};

// What went over the wire, for status.
struct GatewayCounters {
  uint64_t calls = 0;
  uint64_t fetched_bytes = 0;   // content received, uncompressed: fetches and inlined content
  uint64_t uploaded_bytes = 0;  // content sent
};

class Gateway {
 public:
  virtual ~Gateway() = default;

  virtual Task<Result<OpenedSession>> Open(const std::string& workspace,
                                           const std::array<uint8_t, 16>& session_id,
                                           bool want_write_lease) = 0;
  virtual Task<Result<void>> Close() = 0;
  // The id of the lease that the session holds, 0 for none.
  virtual Task<Result<uint64_t>> KeepAlive() = 0;
  // Asks for the write lease of the workspace, and recalls the one that another session holds; or,
  // should the session not be alone, for that of a zone: a directory in the root and what is below
  // it. `inode`: the root, or the zone.
  virtual Task<Result<AcquiredLease>> AcquireLease(uint64_t inode) = 0;
  virtual Task<Result<void>> ReleaseLease(uint64_t lease_id) = 0;
  // Nothing of the zone is cached any more: what others do there need not be told.
  virtual Task<Result<void>> ForgetZone(uint64_t zone) {
    (void)zone;
    co_return Result<void>{};
  }
  // Events of other sessions behind the cursor.
  virtual std::unique_ptr<WatchStream> Watch(uint64_t cursor) = 0;
  // Everything up to that event was acted upon.
  virtual Task<Result<void>> AckWatch(uint64_t cursor) = 0;
  virtual Task<Result<std::pair<uint64_t, uint64_t>>> AllocateInodes(uint64_t count) = 0;
  // As many results as items, in order.
  virtual Task<Result<std::vector<ResolveResult>>> Resolve(std::vector<ResolveItem> items) = 0;
  // Within limits.max_fetch_bytes. Checksums are verified: EIO on a mismatch.
  virtual Task<Result<Fetched>> Fetch(uint64_t inode, uint64_t offset, uint64_t length) = 0;
  // ENOENT: the workspace does not exist any more.
  virtual Task<Result<void>> PutBlock(const BlockId& id, std::string data) = 0;
  // `leases`: under which the mutations were acknowledged here.
  virtual Task<Result<std::vector<MutationResult>>> Apply(
      std::shared_ptr<const std::vector<Mutation>> batch, std::vector<uint64_t> leases) = 0;
  virtual Task<Result<LockVerdict>> Lock(LockCall call, LockAsk ask) = 0;
  virtual Task<Result<void>> CancelLock(uint64_t wait) = 0;
  // The session holds these and no others.
  virtual Task<Result<AssertedLocks>> AssertLocks(std::vector<LockCall> held) = 0;
  virtual Task<Result<StatFs>> Statfs() = 0;

  // May become others when the session is opened.
  virtual GatewayTraits traits() const { return {}; }
  // As the gateway said when the session was opened or kept alive last; none: it does not say, and
  // is to be asked.
  virtual std::optional<OfferedServices> offered() const { return std::nullopt; }
  // The session was opened over this protocol before (traits().protocol; empty: not known).
  virtual void Assume(const std::string& protocol) { (void)protocol; }
  // What there is beside storage, over the same connection. nullptr: this client knows of nothing.
  virtual std::shared_ptr<GatewayServices> services() { return nullptr; }
  // How the session uses it. Before anything is asked, once it was opened.
  virtual void Configure(const ServiceSettings& settings) {
    if (const auto beside = services()) beside->Configure(settings);
  }
  // A connection that is down is tried again at once, not after a pause.
  virtual void Reconnect() {}
  // Another token of the same principal, for calls from now on.
  virtual void SetToken(Secret token) = 0;
  virtual const GatewayCounters& counters() const = 0;
  // "connected", "connecting", "unreachable"; "refused": it answers, but does not take the token;
  // "gone": it answers that there is no such workspace (any more).
  virtual std::string state() const = 0;
};

}  // namespace airstore::broker
