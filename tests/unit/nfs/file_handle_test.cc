// SPDX-License-Identifier: Apache-2.0
#include "frontends/nfs/file_handle.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <cstdlib>
#include <numeric>

#include "shm/base/siphash.h"

namespace airstore::nfs {
namespace {

SipKey Counting() {
  SipKey key;
  std::iota(key.begin(), key.end(), uint8_t{0});
  return key;
}

// From the appendix of the paper, and the authors' vectors.
TEST(SipHash, IsTheOneOfThePaper) {
  uint8_t bytes[64];
  std::iota(std::begin(bytes), std::end(bytes), uint8_t{0});
  EXPECT_EQ(SipHash(Counting(), {bytes, 15}), 0xa129ca6149be45e5);
  EXPECT_EQ(SipHash(Counting(), {bytes, 0}), 0x726fdb47dd0e0e31);
  EXPECT_EQ(SipHash(Counting(), {bytes, 1}), 0x74f839c593dc67fd);
  EXPECT_EQ(SipHash(Counting(), {bytes, 8}), 0x93f5f5799a932462);
}

TEST(FileHandles, AreOpenedByWhoSealedThem) {
  const FileHandles handles(Counting());
  const auto handle = handles.Seal({0x1234567890, 7});
  const auto file = handles.Open(handle);
  ASSERT_TRUE(file);
  EXPECT_EQ(file->inode, 0x1234567890u);
  EXPECT_EQ(file->generation, 7u);
}

TEST(FileHandles, AreRefusedWhenAnyBitDiffers) {
  const FileHandles handles(Counting());
  const auto handle = handles.Seal({42, 1});
  for (size_t bit = 0; bit < handle.size() * 8; ++bit) {
    auto other = handle;
    other[bit / 8] = static_cast<char>(other[bit / 8] ^ (1 << bit % 8));
    EXPECT_FALSE(handles.Open(other)) << bit;
  }
}

TEST(FileHandles, OfOtherKeysAndLengthsAreRefused) {
  SipKey key = Counting();
  const auto handle = FileHandles(key).Seal({42, 1});
  EXPECT_FALSE(FileHandles(key).Open(std::span(handle).first(31)));
  EXPECT_FALSE(FileHandles(key).Open({}));
  key[0] = 1;
  EXPECT_FALSE(FileHandles(key).Open(handle));
}

// AIRSTORE_NFS_HANDLES: how many.
TEST(FileHandles, LeaveNothingBehind) {
  const char* asked = getenv("AIRSTORE_NFS_HANDLES");
  const uint64_t count = asked != nullptr ? strtoull(asked, nullptr, 10) : 200'000;
  const FileHandles handles(Counting());
  const size_t before = mallinfo2().uordblks;
  for (uint64_t i = 0; i < count; ++i) {
    const FileHandles::Handle handle = handles.Seal({i, i * 7});
    const auto file = handles.Open(handle);
    ASSERT_TRUE(file);
    ASSERT_EQ(file->inode, i);
    ASSERT_EQ(file->generation, i * 7);
  }
  EXPECT_EQ(mallinfo2().uordblks, before);
}

}  // namespace
}  // namespace airstore::nfs
