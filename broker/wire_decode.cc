// SPDX-License-Identifier: Apache-2.0
#include "broker/wire_decode.h"

#include <charconv>

#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <xxhash.h>
#include <zstd.h>

#include <algorithm>
#include <chrono>
#include <limits>

#include "broker/log_limit.h"

namespace airstore::broker {
namespace {

namespace wire = storage::v2;

constexpr size_t kLongestName = 255;
constexpr size_t kLongestTarget = 4095;
constexpr size_t kLongestXattr = 65536;
constexpr uint64_t kGreatestSize = std::numeric_limits<int64_t>::max();
constexpr int kGreatestErrno = 133;
// So that a block or a batch, with what is around it, fits into one message.
constexpr uint64_t kGreatestPayload = 8ull << 20;

Error Nonsense(const std::string& what) {
  static LogLimit limit(std::chrono::seconds(10));
  if (limit.Due()) spdlog::warn("gateway: answer refused: {}", what);
  return Error{EPROTO, "the gateway's answer makes no sense: " + what};
}

bool IsErrno(int32_t code) { return code >= 0 && code <= kGreatestErrno; }

bool IsKnownType(uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK:
    case S_IFIFO:
    case S_IFSOCK:
    case S_IFCHR:
    case S_IFBLK:
      return true;
    default:
      return false;
  }
}

// Attributes and inlined content; the name is the caller's business.
Result<DirEntry> DecodeEntry(wire::DirEntry& from, uint64_t inline_bytes) {
  auto attr = DecodeAttr(from.attr());
  if (!attr) return attr.error();
  DirEntry entry;
  entry.attr = std::move(*attr);
  if (from.content_inlined()) {
    if (!S_ISREG(entry.attr.mode) || from.content().size() != entry.attr.size ||
        from.content().size() > inline_bytes) {
      return Nonsense("content of " + std::to_string(entry.attr.inode) + " as inlined");
    }
    entry.inlined = true;
    entry.content = std::move(*from.mutable_content());
  }
  return entry;
}

Result<ResolveResult> DecodeLookup(const wire::LookupItem& asked, wire::ResolveResult& from) {
  if (!from.has_entry()) return Nonsense("a lookup without an entry");
  auto entry = DecodeEntry(*from.mutable_entry(), asked.inline_bytes());
  if (!entry) return entry.error();
  ResolveResult result;
  result.entry = std::move(*entry);
  result.entry.name = asked.name();
  return result;
}

Result<ResolveResult> DecodeGetattr(const wire::GetAttrItem& asked, wire::ResolveResult& from) {
  if (!from.has_entry()) return Nonsense("attributes without an entry");
  auto entry = DecodeEntry(*from.mutable_entry(), asked.inline_bytes());
  if (!entry) return entry.error();
  if (entry->attr.inode != asked.inode()) return Nonsense("attributes of another inode");
  ResolveResult result;
  result.entry = std::move(*entry);
  return result;
}

Result<ResolveResult> DecodeList(const wire::ListItem& asked, wire::ResolveResult& from) {
  if (!from.has_listing()) return Nonsense("a listing without one");
  wire::Listing& listing = *from.mutable_listing();
  auto directory = DecodeAttr(listing.directory());
  if (!directory) return directory.error();
  if (!S_ISDIR(directory->mode) || directory->inode != asked.inode()) {
    return Nonsense("a listing of something else");
  }
  ResolveResult result;
  result.directory = std::move(*directory);
  result.end = listing.end();
  // Whoever pages through a directory goes round in circles without this.
  if (!result.end && listing.entries().empty()) return Nonsense("a listing that does not go on");
  result.entries.reserve(static_cast<size_t>(listing.entries_size()));
  std::string after = asked.after();
  for (wire::DirEntry& item : *listing.mutable_entries()) {
    if (!IsPlausibleName(item.name())) return Nonsense("an impossible name in a listing");
    if (item.name() <= after) return Nonsense("a listing out of order");
    auto entry = DecodeEntry(item, asked.inline_bytes());
    if (!entry) return entry.error();
    entry->name = std::move(*item.mutable_name());
    after = entry->name;
    result.entries.push_back(std::move(*entry));
  }
  return result;
}

Result<ResolveResult> DecodeXattrs(wire::ResolveResult& from) {
  ResolveResult result;
  for (wire::Xattr& xattr : *from.mutable_xattrs()) {
    const std::string& name = xattr.name();
    if (name.empty() || name.size() > kLongestName || name.find('\0') != std::string::npos ||
        xattr.value().size() > kLongestXattr) {
      return Nonsense("an impossible extended attribute");
    }
    result.xattrs[name] = std::move(*xattr.mutable_value());
  }
  return result;
}

Result<ResolveResult> DecodeLayout(const wire::LayoutItem& asked, const wire::ResolveResult& from) {
  if (!from.has_layout()) return Nonsense("a layout without one");
  const wire::Layout& layout = from.layout();
  ResolveResult result;
  uint64_t at = asked.offset();
  for (const wire::Range& run : layout.runs()) {
    if (run.offset() < at || run.offset() > kGreatestSize || run.length() == 0 ||
        run.length() > kGreatestSize - run.offset()) {
      return Nonsense("a layout out of order");
    }
    at = run.offset() + run.length();
    result.layout.runs.push_back({run.offset(), run.length()});
  }
  if (layout.blocks_size() != 0 &&
      (!asked.blocks() || layout.blocks_size() != layout.runs_size())) {
    return Nonsense("a layout with other blocks");
  }
  for (const wire::BlockRef& block : layout.blocks()) {
    BlockId id;
    if (block.block_id().size() != id.bytes.size() || block.offset() > kGreatestSize) {
      return Nonsense("an impossible block");
    }
    std::copy(block.block_id().begin(), block.block_id().end(), id.bytes.begin());
    result.layout.blocks.emplace_back(id, block.offset());
  }
  result.layout.end = layout.end();
  if (!layout.end() && layout.runs().empty()) return Nonsense("a layout that does not go on");
  result.layout.content_version = layout.content_version();
  result.layout.size = layout.size();
  return result;
}

Result<ResolveResult> DecodeItem(const wire::ResolveItem& asked, wire::ResolveResult& from) {
  if (!IsErrno(from.error())) return Nonsense("error " + std::to_string(from.error()));
  if (from.error() != 0) {
    ResolveResult result;
    result.error = from.error();
    return result;
  }
  switch (asked.what_case()) {
    case wire::ResolveItem::kLookup:
      return DecodeLookup(asked.lookup(), from);
    case wire::ResolveItem::kGetattr:
      return DecodeGetattr(asked.getattr(), from);
    case wire::ResolveItem::kList:
      return DecodeList(asked.list(), from);
    case wire::ResolveItem::kListxattr:
      return DecodeXattrs(from);
    case wire::ResolveItem::kLayout:
      return DecodeLayout(asked.layout(), from);
    default:
      return Nonsense("an answer to nothing");
  }
}

// Of the file that the mutation was about, not of the directories around it. A touch is of a
// directory, unless it takes the number of content that was sent before.
uint64_t ContentVersion(const wire::Mutation& asked, const wire::MutationResult& from) {
  uint64_t inode = 0;
  if (asked.has_create()) inode = asked.create().inode();
  if (asked.has_write()) inode = asked.write().inode();
  if (asked.has_setattr() && asked.setattr().has_size()) inode = asked.setattr().inode();
  if (asked.has_touch()) inode = asked.touch().inode();
  if (inode == 0) return 0;
  for (const wire::InodeVersion& version : from.versions()) {
    if (version.inode() == inode) return version.content_version();
  }
  return 0;
}

Result<std::string> Uncompressed(wire::FetchedRange& from) {
  if (from.compression() == wire::COMPRESSION_NONE) return std::move(*from.mutable_data());
  if (from.compression() != wire::COMPRESSION_ZSTD) return Nonsense("an unknown compression");
  std::string out(from.length(), '\0');
  const size_t got =
      ZSTD_decompress(out.data(), out.size(), from.data().data(), from.data().size());
  if (ZSTD_isError(got) != 0 || got != out.size()) return Nonsense("damaged compressed content");
  return out;
}

OfferedServices DecodeServices(const wire::Services& from) {
  return {from.tools(), from.sources(), from.tasks(), from.access_log()};
}

}  // namespace

bool IsPlausibleName(const std::string& name) {
  return !name.empty() && name.size() <= kLongestName && name != "." && name != ".." &&
         name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
}

Result<Attr> DecodeAttr(const wire::Attr& from) {
  if (from.inode() == 0) return Nonsense("inode 0");
  if (!IsKnownType(from.mode()) || (from.mode() & ~0177777u) != 0) {
    return Nonsense("mode " + std::to_string(from.mode()));
  }
  if (from.size() > kGreatestSize) {
    return Nonsense("a size beyond what a file can have");
  }
  const std::string& target = from.symlink_target();
  if (S_ISLNK(from.mode()) && (target.empty() || target.size() > kLongestTarget ||
                               target.find('\0') != std::string::npos)) {
    return Nonsense("an impossible symbolic link");
  }
  Attr attr;
  attr.inode = from.inode();
  attr.generation = from.generation();
  attr.mode = from.mode();
  attr.uid = from.uid();
  attr.gid = from.gid();
  attr.nlink = from.nlink();
  attr.size = from.size();
  attr.rdev = from.rdev();
  attr.atime_ns = from.atime_ns();
  attr.mtime_ns = from.mtime_ns();
  attr.ctime_ns = from.ctime_ns();
  attr.btime_ns = from.btime_ns();
  attr.version = from.version();
  attr.content_version = from.content_version();
  attr.allocated_bytes = from.allocated_bytes();
  attr.xattr_count = from.xattr_count();
  attr.parent = from.parent();
  if (S_ISLNK(from.mode())) attr.symlink_target = target;
  return attr;
}

Result<std::pair<uint64_t, uint64_t>> DecodeRange(const wire::InodeRange& from) {
  if (from.first() <= 1 || from.count() == 0 ||
      from.count() > std::numeric_limits<uint64_t>::max() - from.first()) {
    return Nonsense("a range of inode numbers");
  }
  return std::pair(from.first(), from.count());
}

Result<AliveSession> DecodeKeepAlive(const wire::KeepAliveRequest&,
                                     const wire::KeepAliveResponse& from) {
  AliveSession alive;
  if (from.has_lease()) alive.lease_id = from.lease().id();
  if (from.has_services()) alive.services = DecodeServices(from.services());
  return alive;
}

Result<OpenedSession> DecodeOpen(const wire::OpenSessionResponse& from) {
  OpenedSession session;
  auto root = DecodeAttr(from.root());
  if (!root) return root.error();
  if (root->inode != 1 || !S_ISDIR(root->mode)) return Nonsense("a root that is no directory");
  if (from.workspace_id().empty()) return Nonsense("a workspace without an id");
  session.root = std::move(*root);
  session.workspace_id = from.workspace_id();
  session.workspace_name = from.workspace_name();
  session.principal = from.principal();
  session.resumed = from.resumed();
  session.last_applied_sequence = from.last_applied_sequence();
  session.read_only = from.read_only();
  if (from.has_services()) session.services = DecodeServices(from.services());
  session.lease_id = from.has_lease() ? from.lease().id() : 0;
  session.watch_cursor = from.watch_cursor();
  // A session that only reads needs no numbers.
  if (from.has_inodes() && from.inodes().count() != 0) {
    const auto range = DecodeRange(from.inodes());
    if (!range) return range.error();
    session.first_inode = range->first;
    session.inode_count = range->second;
  } else if (!session.read_only) {
    return Nonsense("no inode numbers");
  }
  // Zero: not said, our defaults hold.
  const auto take = [](uint64_t said, uint64_t least, uint64_t most, auto& limit) {
    if (said == 0) return;
    using Limit = std::remove_reference_t<decltype(limit)>;
    limit = static_cast<Limit>(std::clamp(said, least, most));
  };
  const wire::Limits& limits = from.limits();
  take(limits.block_bytes(), 4096, kGreatestPayload, session.limits.block_bytes);
  take(limits.max_fetch_bytes(), 4096, kGreatestPayload, session.limits.max_fetch_bytes);
  take(limits.max_inline_bytes(), 1, kGreatestPayload, session.limits.max_inline_bytes);
  take(limits.max_batch_mutations(), 1, 100'000, session.limits.max_batch_mutations);
  take(limits.max_batch_bytes(), 4096, kGreatestPayload, session.limits.max_batch_bytes);
  take(limits.max_file_bytes(), 1, 1ull << 62, session.limits.max_file_bytes);
  take(limits.session_seconds(), 1, 86'400, session.limits.session_seconds);
  return session;
}

Result<std::vector<ResolveResult>> DecodeResolve(const wire::ResolveRequest& asked,
                                                 wire::ResolveResponse& from) {
  if (from.results_size() != asked.items_size()) return Nonsense("another number of answers");
  std::vector<ResolveResult> results;
  results.reserve(static_cast<size_t>(asked.items_size()));
  for (int i = 0; i < asked.items_size(); ++i) {
    auto result = DecodeItem(asked.items(i), *from.mutable_results(i));
    if (result) {
      results.push_back(std::move(*result));
    } else {
      results.emplace_back();
      results.back().error = result.error().code;
    }
  }
  return results;
}

Result<Fetched> DecodeFetch(const wire::FetchRequest& asked, wire::FetchResponse& from) {
  if (!IsErrno(from.error())) return Nonsense("error " + std::to_string(from.error()));
  if (from.error() != 0) {
    return Error{from.error(), "fetch of inode " + std::to_string(asked.inode())};
  }
  const uint64_t end = asked.ranges(0).offset() + asked.ranges(0).length();
  uint64_t at = asked.ranges(0).offset();
  Fetched fetched;
  fetched.content_version = from.content_version();
  fetched.ranges.reserve(static_cast<size_t>(from.ranges_size()));
  for (wire::FetchedRange& item : *from.mutable_ranges()) {
    if (item.length() == 0) continue;
    if (item.offset() != at || item.length() > end - at) {
      return Nonsense("content other than what was asked for");
    }
    FetchedRange range;
    range.offset = item.offset();
    range.length = item.length();
    if (!item.data().empty()) {
      auto data = Uncompressed(item);
      if (!data) return data.error();
      if (data->size() != range.length) return Nonsense("content of another length");
      if (XXH3_64bits(data->data(), data->size()) != item.xxh3()) {
        return Error{EIO, "checksum of inode " + std::to_string(asked.inode()) + " at " +
                              std::to_string(range.offset)};
      }
      range.data = std::move(*data);
    }
    at += range.length;
    fetched.ranges.push_back(std::move(range));
  }
  return fetched;
}

Result<std::vector<MutationResult>> DecodeApply(const wire::ApplyRequest& asked,
                                                const wire::ApplyResponse& from) {
  if (from.lease_lost()) return Error{EKEYEXPIRED, "apply: the lease has ended"};
  if (from.results_size() != asked.mutations_size()) return Nonsense("another number of results");
  std::vector<MutationResult> results;
  results.reserve(static_cast<size_t>(from.results_size()));
  for (int i = 0; i < from.results_size(); ++i) {
    const wire::MutationResult& item = from.results(i);
    if (item.sequence() != asked.mutations(i).sequence()) return Nonsense("results out of order");
    if (!IsErrno(item.error())) return Nonsense("error " + std::to_string(item.error()));
    results.push_back({item.sequence(), item.error(), ContentVersion(asked.mutations(i), item)});
  }
  return results;
}

Result<AcquiredLease> DecodeLease(const wire::AcquireLeaseResponse& from) {
  if (from.has_lease() && from.lease().id() == 0) return Nonsense("a lease without an id");
  return AcquiredLease{.lease_id = from.lease().id(),
                       .inode = from.lease().inode(),
                       .held_by_other = from.held_by_other(),
                       .watch_cursor = from.watch_cursor()};
}

Result<WatchEvent> DecodeEvent(wire::WatchEvent& from) {
  WatchEvent event;
  event.cursor = from.cursor();
  event.gap = from.gap();
  event.lease_recall = from.lease_recall();
  event.lock_freed = from.lock_freed();
  event.forget = from.forget();
  wire::Invalidation& changed = *from.mutable_changed();
  event.inodes.assign(changed.inodes().begin(), changed.inodes().end());
  event.names.reserve(static_cast<size_t>(changed.names_size()));
  for (wire::NameRef& name : *changed.mutable_names()) {
    if (!IsPlausibleName(name.name())) return Nonsense("an event about an impossible name");
    event.names.push_back({name.parent(), std::move(*name.mutable_name())});
  }
  return event;
}

Result<StatFs> DecodeStatfs(const wire::StatFsResponse& from) {
  StatFs out;
  out.total_bytes = from.total_bytes();
  out.free_bytes = std::min(from.free_bytes(), from.total_bytes());
  out.total_inodes = from.total_inodes();
  out.free_inodes = std::min(from.free_inodes(), from.total_inodes());
  out.quota_bytes = from.quota_bytes();
  out.quota_inodes = from.quota_inodes();
  return out;
}

namespace {

LockType TypeOf(wire::LockType type) {
  if (type == wire::LOCK_TYPE_EXCLUSIVE) return LockType::kExclusive;
  return type == wire::LOCK_TYPE_SHARED ? LockType::kShared : LockType::kUnlock;
}

// "mount.id", as we wrote it.
bool DecodeOwner(const std::string& text, LockOwner* owner) {
  const char* const end = text.data() + text.size();
  const auto mount = std::from_chars(text.data(), end, owner->mount);
  if (mount.ec != std::errc() || mount.ptr == end || *mount.ptr != '.') return false;
  const auto id = std::from_chars(mount.ptr + 1, end, owner->id);
  return id.ec == std::errc() && id.ptr == end;
}

}  // namespace

Result<LockVerdict> DecodeLock(const wire::LockResponse& from) {
  if (from.error() < 0 || from.error() > kGreatestErrno) return Nonsense("a lock's errno");
  LockVerdict verdict;
  verdict.error = from.error();
  verdict.assert_first = from.assert_first();
  if (from.has_conflict()) {
    const wire::LockRequest& held = from.conflict();
    if (held.start() > held.end()) return Nonsense("a lock's range");
    verdict.conflict = LockRange{{}, TypeOf(held.type()), held.start(), held.end(), held.pid()};
  }
  return verdict;
}

Result<AssertedLocks> DecodeAssertedLocks(wire::AssertLocksRequest& /*asked*/,
                                          wire::AssertLocksResponse& from) {
  AssertedLocks out;
  out.lapsed = from.lapsed();
  for (const wire::LockRequest& lock : from.lost()) {
    LockCall call;
    call.inode = lock.inode();
    call.flock = lock.flock();
    call.range.type = TypeOf(lock.type());
    call.range.first = lock.start();
    call.range.last = lock.end();
    if (!DecodeOwner(lock.owner(), &call.range.owner)) return Nonsense("a lock's owner");
    out.lost.push_back(call);
  }
  return out;
}

}  // namespace airstore::broker
