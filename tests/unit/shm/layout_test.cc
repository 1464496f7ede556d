// SPDX-License-Identifier: Apache-2.0
//
// The numbers that two builds must agree on, as literals: an edit must be deliberate.
// A change of size, offset or meaning bumps kAbiMajor; a new meaning of a reserved word kAbiMinor.
#include <gtest/gtest.h>

#include <cstring>
#include <type_traits>

#include "shm/counters.h"
#include "shm/layout.h"

namespace airstore::shm {
namespace {

TEST(Layout, VersionIsPinned) {
  EXPECT_EQ(kAbiMajor, 6u);
  EXPECT_EQ(kAbiMinor, 0u);
}

TEST(Layout, MagicReadsAirstoreInMemory) {
  char text[8];
  memcpy(text, &kMagic, sizeof(text));
  EXPECT_EQ(std::string(text, 8), "airstore");
  EXPECT_EQ(kMagic, 0x65726f7473726961ull);
  EXPECT_EQ(kSegmentReady, 0x79646572u);
}

TEST(Layout, SizesArePinned) {
  EXPECT_EQ(sizeof(SegmentHeader), 256u);
  EXPECT_EQ(sizeof(MetaGeometry), 128u);
  EXPECT_EQ(sizeof(MetaState), 384u);
  EXPECT_EQ(sizeof(InodeEntry), 256u);
  EXPECT_EQ(sizeof(DentryEntry), 128u);
  EXPECT_EQ(sizeof(LongName), 256u);
  EXPECT_EQ(sizeof(QueueRecord), 64u);
  EXPECT_EQ(sizeof(RequestSlot), 69632u);
  EXPECT_EQ(sizeof(InodeUse), 16u);
  EXPECT_EQ(sizeof(RequestTrace), 128u);
  EXPECT_EQ(sizeof(OpeningMessage), 384u);
  EXPECT_EQ(sizeof(ReadEvent), 48u);
  EXPECT_EQ(sizeof(ReadLog), 196864u);
  EXPECT_EQ(sizeof(LaneLayout), 4759424u);
}

TEST(Layout, LimitsArePinned) {
  EXPECT_EQ(kQueueRecords, 1024u);
  EXPECT_EQ(kRequestSlots, 64u);
  EXPECT_EQ(kHazardSlots, 128u);
  EXPECT_EQ(kRequestTraces, 128u);
  EXPECT_EQ(kReadEvents, 4096u);
  EXPECT_EQ(kCounterWords, 64u);
  EXPECT_EQ(kMaxMounts, 64u);
  EXPECT_EQ(kInlineName, 64u);
  EXPECT_EQ(kMaxName, 255u);
}

TEST(Layout, LongNameHoldsTheLongestName) { EXPECT_GE(sizeof(LongName), kMaxName); }

TEST(Layout, CountersAndHistogramsFitTheirWords) {
  EXPECT_LE(kCounterCount, kCounterWords);
  EXPECT_LE(kHistogramCount, kHistogramRows);
}

TEST(Layout, HazardKeysOfDifferentExtentsDiffer) {
  EXPECT_NE(HazardKey(0, 4096), 0u);
  EXPECT_NE(HazardKey(0, 4096), HazardKey(1, 4096));
  EXPECT_NE(HazardKey(1, 4096), HazardKey(1, 8192));
}

}  // namespace
}  // namespace airstore::shm
