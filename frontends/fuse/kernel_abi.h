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
inline constexpr uint32_t kOpInit = 26;
inline constexpr uint32_t kOpInterrupt = 36;  // body: unique of the request that is meant
inline constexpr uint32_t kOpBatchForget = 42;

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

// Of OpenOut::open_flags.
inline constexpr uint32_t kFopenDirectIo = 1u << 0;
inline constexpr uint32_t kFopenKeepCache = 1u << 1;
inline constexpr uint32_t kFopenCacheDir = 1u << 3;
inline constexpr uint32_t kFopenNoFlush = 1u << 5;
inline constexpr uint32_t kFopenParallelDirectWrites = 1u << 6;
inline constexpr uint32_t kFopenPassthrough = 1u << 7;

}  // namespace airstore::fuse::abi
