// SPDX-License-Identifier: Apache-2.0
//
// The parts of the kernel's FUSE protocol that libfuse 3.14 does not offer: raw replies with a
// backing id, and the INIT bits it cannot set. From include/uapi/linux/fuse.h of Linux 6.18,
// protocol 7.45; layouts there never change, they only grow at their end.
//
// Own definitions, because the headers of the systems we build on are older than their kernels.
#pragma once

#include <cstddef>
#include <cstdint>

namespace airstore::fuse::abi {

inline constexpr uint32_t kOpForget = 2;
inline constexpr uint32_t kOpGetattr = 3;
inline constexpr uint32_t kOpSetattr = 4;
inline constexpr uint32_t kOpOpen = 14;
inline constexpr uint32_t kOpWrite = 16;
inline constexpr uint32_t kOpSetxattr = 21;
inline constexpr uint32_t kOpInit = 26;
inline constexpr uint32_t kOpCreate = 35;
inline constexpr uint32_t kOpInterrupt = 36;  // body: unique of the request that is meant
inline constexpr uint32_t kOpBatchForget = 42;
inline constexpr uint32_t kOpTmpfile = 51;  // body: as of kOpCreate
inline constexpr uint32_t kOpStatx = 52;

// Of InHeader::unique: the request was sent before, to a daemon that did not answer it; 7.40.
inline constexpr uint64_t kUniqueResent = uint64_t{1} << 63;

struct InHeader {
  uint32_t len;
  uint32_t opcode;
  uint64_t unique;
  uint64_t nodeid;
  uint32_t uid;
  uint32_t gid;
  uint32_t pid;
  uint16_t total_extlen;
  uint16_t padding;
};
static_assert(sizeof(InHeader) == 40);

struct OutHeader {
  uint32_t len;
  int32_t error;
  uint64_t unique;
};
static_assert(sizeof(OutHeader) == 16);

struct InitIn {
  uint32_t major;
  uint32_t minor;
  uint32_t max_readahead;
  uint32_t flags;
  uint32_t flags2;  // bits 32 and up; sent when kInitExt is among the flags
  uint32_t unused[11];
};
static_assert(sizeof(InitIn) == 64);

struct InitOut {
  uint32_t major;
  uint32_t minor;
  uint32_t max_readahead;
  uint32_t flags;
  uint16_t max_background;
  uint16_t congestion_threshold;
  uint32_t max_write;
  uint32_t time_gran;
  uint16_t max_pages;
  uint16_t map_alignment;
  uint32_t flags2;
  uint32_t max_stack_depth;  // how deep backing files may be stacked; 7.40
  uint32_t unused[6];
};
static_assert(sizeof(InitOut) == 64);
static_assert(offsetof(InitOut, flags2) == 32 && offsetof(InitOut, max_stack_depth) == 36);

// Of flags.
inline constexpr uint32_t kParallelDirops = 1u << 18;
inline constexpr uint32_t kHandleKillprivV2 = 1u << 28;
inline constexpr uint32_t kSetxattrExt = 1u << 29;
inline constexpr uint32_t kInitExt = 1u << 30;
// Of flags2: the kernel counts these from bit 32.
inline constexpr uint32_t kDirectIoAllowMmap2 = 1u << (36 - 32);
inline constexpr uint32_t kPassthrough2 = 1u << (37 - 32);

struct Attr {
  uint64_t ino;
  uint64_t size;
  uint64_t blocks;
  uint64_t atime;
  uint64_t mtime;
  uint64_t ctime;
  uint32_t atimensec;
  uint32_t mtimensec;
  uint32_t ctimensec;
  uint32_t mode;
  uint32_t nlink;
  uint32_t uid;
  uint32_t gid;
  uint32_t rdev;
  uint32_t blksize;
  uint32_t flags;
};
static_assert(sizeof(Attr) == 88);

struct EntryOut {
  uint64_t nodeid;
  uint64_t generation;
  uint64_t entry_valid;
  uint64_t attr_valid;
  uint32_t entry_valid_nsec;
  uint32_t attr_valid_nsec;
  Attr attr;
};
static_assert(sizeof(EntryOut) == 128);

struct OpenOut {
  uint64_t fh;
  uint32_t open_flags;
  int32_t backing_id;  // 7.40
};
static_assert(sizeof(OpenOut) == 16);

struct CreateOut {
  EntryOut entry;
  OpenOut open;
};
static_assert(sizeof(CreateOut) == 144);

struct SetattrIn {  // the beginning
  uint32_t valid;
  uint32_t padding;
};
inline constexpr uint32_t kSetattrKillSuidgid = 1u << 11;

struct OpenIn {
  uint32_t flags;
  uint32_t open_flags;
};
struct CreateIn {
  uint32_t flags;
  uint32_t mode;
  uint32_t umask;
  uint32_t open_flags;
};
inline constexpr uint32_t kOpenKillSuidgid = 1u << 0;

struct WriteIn {
  uint64_t fh;
  uint64_t offset;
  uint32_t size;
  uint32_t write_flags;
  uint64_t lock_owner;
  uint32_t flags;
  uint32_t padding;
};
static_assert(sizeof(WriteIn) == 40);
inline constexpr uint32_t kWriteKillSuidgid = 1u << 2;

struct SetxattrIn {
  uint32_t size;
  uint32_t flags;
  uint32_t setxattr_flags;  // this and the next: with kSetxattrExt only
  uint32_t padding;
};
static_assert(sizeof(SetxattrIn) == 16);
inline constexpr size_t kSetxattrInBytes = 8;  // without
inline constexpr uint32_t kSetxattrAclKillSgid = 1u << 0;

struct StatxTime {
  int64_t seconds;
  uint32_t nanoseconds;
  int32_t reserved;
};
struct StatxOut {
  uint64_t attr_valid;
  uint32_t attr_valid_nsec;
  uint32_t flags;
  uint64_t spare[2];
  // struct fuse_statx
  uint32_t mask;
  uint32_t blksize;
  uint64_t attributes;
  uint32_t nlink;
  uint32_t uid;
  uint32_t gid;
  uint16_t mode;
  uint16_t spare0;
  uint64_t ino;
  uint64_t size;
  uint64_t blocks;
  uint64_t attributes_mask;
  StatxTime atime;
  StatxTime btime;
  StatxTime ctime;
  StatxTime mtime;
  uint32_t rdev_major;
  uint32_t rdev_minor;
  uint32_t dev_major;
  uint32_t dev_minor;
  uint64_t spare2[14];
};
static_assert(sizeof(StatxOut) == 288);

// Of OpenOut::open_flags.
inline constexpr uint32_t kFopenDirectIo = 1u << 0;
inline constexpr uint32_t kFopenKeepCache = 1u << 1;
inline constexpr uint32_t kFopenCacheDir = 1u << 3;
inline constexpr uint32_t kFopenNoFlush = 1u << 5;
inline constexpr uint32_t kFopenParallelDirectWrites = 1u << 6;
inline constexpr uint32_t kFopenPassthrough = 1u << 7;

}  // namespace airstore::fuse::abi
