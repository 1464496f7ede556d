// SPDX-License-Identifier: Apache-2.0
//
// The gateway's own plain types: rows of the metadata, mutations and their outcomes. Nothing here
// knows gRPC, protobuf or SQL, so that semantics can be tested without any of them and engines can
// be exchanged.
//
// Threads: plain values.
// Ownership: records own their bytes; mutations borrow names and data (string_view) from the
// request they were made of, which must outlive them.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace airstore::gateway {

using WorkspaceKey = int64_t;  // internal, never reused
using InodeNo = uint64_t;

inline constexpr InodeNo kRootInode = 1;
inline constexpr uint64_t kBlockBytes = 4ull << 20;
inline constexpr uint64_t kMaxFileBytes = 1ull << 60;
inline constexpr uint64_t kMaxFetchBytes = 8ull << 20;
inline constexpr uint64_t kMaxInlineBytes = 64ull << 10;
inline constexpr uint32_t kMaxBatchMutations = 8192;
inline constexpr uint64_t kMaxBatchBytes = 8ull << 20;
inline constexpr size_t kMaxXattrBytes = 1u << 20;  // of one inode, names and values
inline constexpr uint64_t kInodesPerGrant = 65536;
inline constexpr uint64_t kMaxInodesPerGrant = 1ull << 20;

// 16 opaque bytes; session and block ids differ in the tag only, so that they cannot be mixed up.
template <typename Tag>
struct Id16 {
  std::array<unsigned char, 16> bytes{};

  // REQUIRES: raw.size() == 16
  static Id16 From(std::string_view raw) {
    Id16 id;
    std::memcpy(id.bytes.data(), raw.data(), id.bytes.size());
    return id;
  }
  std::string_view view() const {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  friend bool operator==(const Id16&, const Id16&) = default;
  friend auto operator<=>(const Id16&, const Id16&) = default;
};
using BlockId = Id16<struct BlockTag>;
using SessionId = Id16<struct SessionTag>;

struct Id16Hash {
  template <typename Tag>
  size_t operator()(const Id16<Tag>& id) const {
    return std::hash<std::string_view>()(id.view());
  }
};

struct Workspace {
  WorkspaceKey key = 0;
  std::string id;
  std::string name;
  int64_t created_ns = 0;
  InodeNo next_inode = 2;  // everything below was granted
  uint64_t used_bytes = 0;
  uint64_t inodes = 0;
  uint64_t quota_bytes = 0;  // 0: none
  uint64_t quota_inodes = 0;
};

struct Quota {
  std::optional<uint64_t> bytes;  // 0: no limit
  std::optional<uint64_t> inodes;
};

struct Inode {
  InodeNo ino = 0;
  uint32_t mode = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t nlink = 0;
  uint64_t size = 0;
  uint64_t rdev = 0;
  int64_t atime_ns = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;
  int64_t btime_ns = 0;
  uint64_t version = 1;
  uint64_t content_version = 1;
  uint64_t allocated = 0;  // sum of its extents' lengths; 0 means that it has no extents
  uint32_t xattr_count = 0;
  // The directory that all of its names are in, for walking up. 0: of the root, of what has no
  // name, and of what has, or once had, names in several.
  InodeNo parent = 0;
  std::string symlink_target;

  friend bool operator==(const Inode&, const Inode&) = default;
};

struct Entry {
  std::string name;
  Inode inode;
};

struct Name {
  std::string name;
  InodeNo ino = 0;
};

// A run of content; extents of one inode never overlap, what no extent covers is a hole.
struct Extent {
  uint64_t offset = 0;
  uint64_t length = 0;
  BlockId block;
  uint64_t block_offset = 0;

  uint64_t end() const { return offset + length; }
  friend bool operator==(const Extent&, const Extent&) = default;
};

struct BlockRecord {
  BlockId id;
  uint64_t size = 0;
  uint64_t xxh3 = 0;
  uint64_t live_bytes = 0;  // bytes that extents refer to, counted once for each reference
  int64_t touched_ns = 0;   // when it was stored, or became garbage
  bool deleting = false;    // the collector has decided: never to be referred to again
};

struct BlockKey {
  WorkspaceKey workspace = 0;
  BlockId id;
  friend bool operator==(const BlockKey&, const BlockKey&) = default;
};

struct SessionRecord {
  SessionId id;
  WorkspaceKey workspace = 0;
  std::string principal;
  std::string client;
  uint64_t last_sequence = 0;
  int64_t seen_ns = 0;  // updated rarely: for forgetting sessions of long ago
};

struct LeaseRecord {
  uint64_t id = 0;
  WorkspaceKey workspace = 0;
  InodeNo inode = 0;
  SessionId session;
};

// The session may have cached something of the zone (zones.h). That of the root stands for what
// every session has: as long as it is there, all its others are.
struct InterestRecord {
  WorkspaceKey workspace = 0;
  SessionId session;
  InodeNo zone = 0;
  friend bool operator==(const InterestRecord&, const InterestRecord&) = default;
};

struct TokenRecord {
  std::string id;
  std::string hash;  // SHA-256 of the secret
  WorkspaceKey workspace = 0;
  std::string workspace_name;  // filled by readers
  std::string principal;
  bool read_only = false;
  int64_t created_ns = 0;
  int64_t revoked_ns = 0;
  // Of tokens that v1 has made.
  std::string name;
  std::string member;      // id
  int64_t expires_ns = 0;  // 0: never
};

// Whom v1 makes tokens for.
struct MemberRecord {
  std::string id;
  WorkspaceKey workspace = 0;
  std::string email;
  std::string name;
  std::string role;  // "admin", "member" or "viewer"
  int64_t created_ns = 0;
};

// ---- Mutations --------------------------------------------------------------------------------

struct BlockSource {
  BlockId id;
  uint64_t offset = 0;
};
struct HoleSource {};
struct WriteExtent {
  uint64_t offset = 0;
  uint64_t length = 0;
  std::variant<std::monostate, std::string_view, BlockSource, HoleSource> source;
};

struct Xattr {
  std::string_view name, value;
};

struct CreateOp {
  InodeNo parent = 0;
  std::string_view name;
  InodeNo ino = 0;
  uint32_t mode = 0, uid = 0, gid = 0;
  uint64_t rdev = 0;
  std::string_view symlink_target;
  std::vector<Xattr> xattrs = {};
};
struct LinkOp {
  InodeNo ino = 0, parent = 0;
  std::string_view name;
};
struct UnlinkOp {
  InodeNo parent = 0;
  std::string_view name;
  bool directory = false;
  InodeNo ino = 0;
};
struct RenameOp {
  InodeNo old_parent = 0;
  std::string_view old_name;
  InodeNo new_parent = 0;
  std::string_view new_name;
  uint32_t flags = 0;
  InodeNo whiteout = 0;  // takes the old name; 0: none
  uint32_t whiteout_uid = 0, whiteout_gid = 0;
  InodeNo ino = 0;        // what is meant by the old name; 0: whatever is there
  InodeNo exchanged = 0;  // and of an exchange by the new one
};
inline constexpr uint32_t kRenameNoReplace = 1;
inline constexpr uint32_t kRenameExchange = 2;
struct SetAttrOp {
  InodeNo ino = 0;
  std::optional<uint32_t> mode, uid, gid;
  std::optional<uint64_t> size;
  std::optional<int64_t> atime_ns, mtime_ns, ctime_ns;
};
struct WriteOp {
  InodeNo ino = 0;
  std::vector<WriteExtent> extents;
  std::optional<uint64_t> size;
  std::optional<int64_t> mtime_ns;
};
struct SetXattrOp {
  InodeNo ino = 0;
  std::string_view name, value;
  uint32_t flags = 0;
  std::optional<uint32_t> mode = {};
};
inline constexpr uint32_t kXattrCreate = 1;
inline constexpr uint32_t kXattrReplace = 2;
struct RemoveXattrOp {
  InodeNo ino = 0;
  std::string_view name;
};
struct TouchOp {
  InodeNo ino = 0;
};

struct Mutation {
  uint64_t sequence = 0;
  int64_t time_ns = 0;
  bool stop_on_error = false;
  InodeNo if_inode = 0;
  uint64_t if_content_version = 0;
  std::variant<std::monostate, CreateOp, LinkOp, UnlinkOp, RenameOp, SetAttrOp, WriteOp, SetXattrOp,
               RemoveXattrOp, TouchOp>
      op;
};

struct InodeVersion {
  InodeNo ino = 0;
  uint64_t version = 0;
  uint64_t content_version = 0;
  friend bool operator==(const InodeVersion&, const InodeVersion&) = default;
};

struct MutationOutcome {
  uint64_t sequence = 0;
  int error = 0;
  std::vector<InodeVersion> versions;
  friend bool operator==(const MutationOutcome&, const MutationOutcome&) = default;
};

// What one commit changed, for those who watch.
struct ChangeSet {
  struct Name {
    InodeNo parent = 0;
    std::string name;
  };
  std::vector<InodeNo> inodes;
  std::vector<Name> names;
  std::vector<SessionId> only = {};  // whom it concerns, in order; empty: everybody
  bool Concerns(const SessionId& session) const {
    return only.empty() || std::binary_search(only.begin(), only.end(), session);
  }
  bool empty() const { return inodes.empty() && names.empty(); }
};

}  // namespace airstore::gateway
