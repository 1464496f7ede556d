// SPDX-License-Identifier: Apache-2.0
//
// The INIT reply, byte by byte as the kernel sees it.
#include "frontends/fuse/init_patch.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>

namespace airstore::fuse {
namespace {

using Bytes = std::vector<uint8_t>;

// INIT of protocol 7.45 with unique 2; flags and flags2 are set by the tests.
constexpr std::array<uint8_t, 104> kRequest = {
    104, 0, 0, 0, 26, 0, 0, 0,              // len, opcode INIT
    2,   0, 0, 0, 0,  0, 0, 0,              // unique
    0,   0, 0, 0, 0,  0, 0, 0,              // nodeid
    0,   0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0,  // uid, gid, pid
    0,   0, 0, 0,                           // total_extlen, padding
    7,   0, 0, 0, 45, 0, 0, 0,              // major, minor
    0,   0, 2, 0,                           // max_readahead
};
constexpr size_t kRequestFlags = 40 + 12;
constexpr size_t kRequestFlags2 = 40 + 16;
constexpr size_t kReplyFlags = 16 + 12;
constexpr size_t kReplyFlags2 = 16 + 32;
constexpr size_t kReplyStackDepth = 16 + 36;

Bytes Request(uint32_t flags, uint32_t flags2) {
  Bytes request(kRequest.begin(), kRequest.end());
  memcpy(request.data() + kRequestFlags, &flags, 4);
  memcpy(request.data() + kRequestFlags2, &flags2, 4);
  return request;
}

constexpr std::array<uint8_t, 16> kHeader = {80, 0, 0, 0, 0, 0, 0, 0,   // len, error
                                             2,  0, 0, 0, 0, 0, 0, 0};  // unique
constexpr std::array<uint8_t, 64> kBody = {
    7,    0,    0,  0, 38, 0, 0, 0,  // major, minor
    0,    0,    2,  0,               // max_readahead
    0x21, 0x40, 0,  0,               // flags: ASYNC_READ, BIG_WRITES, READDIRPLUS_AUTO
    64,   0,    48, 0,               // max_background, congestion_threshold
    0,    0,    16, 0, 1,  0, 0, 0,  // max_write, time_gran
    0,    1,    0,  0,               // max_pages, map_alignment
};

Bytes Patched(const InitPatch& patch, std::array<uint8_t, 16> header) {
  std::array<uint8_t, 64> body = kBody;
  const iovec parts[] = {{header.data(), header.size()}, {body.data(), body.size()}};
  return patch.Patch(parts, 2);
}

uint32_t Word(const Bytes& reply, size_t at) {
  uint32_t word;
  memcpy(&word, reply.data() + at, 4);
  return word;
}

constexpr uint32_t kAllFlags = ~0u;
constexpr uint32_t kFlagsWithoutExt = ~(1u << 30);

TEST(InitPatch, AddsWhatTheKernelOffers) {
  InitPatch patch(InitPatch::Passthrough::kWanted);
  patch.SeeRequest(Request(kAllFlags, kAllFlags));
  const Bytes reply = Patched(patch, kHeader);
  ASSERT_EQ(80u, reply.size());
  EXPECT_EQ(0x4021u | 1u << 18 | 1u << 28 | 1u << 29 | 1u << 30, Word(reply, kReplyFlags));
  EXPECT_EQ(1u << 4 | 1u << 5, Word(reply, kReplyFlags2));
  EXPECT_EQ(1u, Word(reply, kReplyStackDepth));
  // All else is as libfuse said.
  EXPECT_EQ(0, memcmp(reply.data(), kHeader.data(), 16));
  EXPECT_EQ(0, memcmp(reply.data() + 16, kBody.data(), 12));
  EXPECT_EQ(0, memcmp(reply.data() + 32, kBody.data() + 16, 16));
}

TEST(InitPatch, LeavesPassthroughOutUnlessWanted) {
  InitPatch patch(InitPatch::Passthrough::kOff);
  patch.SeeRequest(Request(kAllFlags, kAllFlags));
  const Bytes reply = Patched(patch, kHeader);
  EXPECT_EQ(1u << 4, Word(reply, kReplyFlags2));
  EXPECT_EQ(0u, Word(reply, kReplyStackDepth));
}

TEST(InitPatch, SetsNothingThatWasNotOffered) {
  InitPatch patch(InitPatch::Passthrough::kWanted);
  patch.SeeRequest(Request(0, kAllFlags));
  const Bytes reply = Patched(patch, kHeader);
  EXPECT_EQ(0, memcmp(reply.data() + 16, kBody.data(), 64));
}

TEST(InitPatch, IgnoresTheUpperFlagsOfAKernelWithoutThem) {
  InitPatch patch(InitPatch::Passthrough::kWanted);
  Bytes request = Request(kFlagsWithoutExt, kAllFlags);
  request.resize(kRequestFlags2);  // as such a kernel sends it
  patch.SeeRequest(request);
  const Bytes reply = Patched(patch, kHeader);
  EXPECT_EQ(0x4021u | 1u << 18 | 1u << 28 | 1u << 29, Word(reply, kReplyFlags));
  EXPECT_EQ(0u, Word(reply, kReplyFlags2));
}

TEST(InitPatch, LeavesOtherRepliesAlone) {
  InitPatch patch(InitPatch::Passthrough::kWanted);
  EXPECT_TRUE(Patched(patch, kHeader).empty());  // no INIT seen yet
  patch.SeeRequest(Request(kAllFlags, kAllFlags));
  std::array<uint8_t, 16> other = kHeader;
  other[8] = 3;
  EXPECT_TRUE(Patched(patch, other).empty());
  std::array<uint8_t, 16> failed = kHeader;
  failed[4] = 0xff;
  EXPECT_TRUE(Patched(patch, failed).empty());
}

TEST(InitPatch, LeavesAShortReplyAsItIs) {
  InitPatch patch(InitPatch::Passthrough::kWanted);
  patch.SeeRequest(Request(kAllFlags, kAllFlags));
  std::array<uint8_t, 16> header = kHeader;
  std::array<uint8_t, 64> body = kBody;
  const iovec parts[] = {{header.data(), header.size()}, {body.data(), 24}};
  const Bytes reply = patch.Patch(parts, 2);
  ASSERT_EQ(40u, reply.size());
  EXPECT_EQ(0, memcmp(reply.data() + 16, kBody.data(), 24));
}

}  // namespace
}  // namespace airstore::fuse
