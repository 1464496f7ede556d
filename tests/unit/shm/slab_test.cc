// SPDX-License-Identifier: Apache-2.0
#include "shm/slab.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "tests/unit/shm/support.h"

namespace airstore::shm {
namespace {

std::vector<uint8_t> Content(size_t bytes, uint8_t first) {
  std::vector<uint8_t> content(bytes);
  for (size_t i = 0; i < bytes; ++i) content[i] = static_cast<uint8_t>(first + i * 7);
  return content;
}

bool Equal(std::span<const uint8_t> a, std::span<const uint8_t> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

SlabPool MakePool(uint64_t limit, SlabPool::Hazards hazards = nullptr) {
  return SlabPool(TestSession(), limit, std::move(hazards), nullptr);
}

TEST(Slab, SizeClassesWasteAnEighthAtMost) {
  for (uint32_t bytes = 1; bytes <= kSlabMaxExtent; ++bytes) {
    const uint32_t extent = SlabClassBytes(bytes);
    ASSERT_GE(extent, bytes);
    ASSERT_EQ(extent % 64, 0u);
    ASSERT_LE(extent - bytes, std::max(bytes / 8, 63u)) << bytes;
    ASSERT_EQ(SlabClassBytes(extent), extent);
  }
  EXPECT_EQ(SlabClassBytes(1), 64u);
  EXPECT_EQ(SlabClassBytes(4096), 4096u);
  EXPECT_EQ(SlabClassBytes(4097), 4608u);
  EXPECT_EQ(SlabClassBytes(kSlabMaxExtent), kSlabMaxExtent);
}

TEST(Slab, KeepsContentAlignedAndBehindTheHeader) {
  SlabPool pool = MakePool(16u << 20);
  std::vector<std::pair<Extent, std::vector<uint8_t>>> stored;
  for (uint32_t i = 1; i < 500; ++i) {
    auto content = Content(i * 97 % 60'000 + 1, static_cast<uint8_t>(i));
    auto extent = pool.Store(content);
    ASSERT_TRUE(extent.has_value());
    EXPECT_EQ(extent->offset % 64, 0u);
    EXPECT_GE(extent->offset, kSlabHeaderBytes);
    stored.emplace_back(*extent, std::move(content));
  }
  for (const auto& [extent, content] : stored) {
    ASSERT_TRUE(Equal(pool.Bytes(extent), content));
  }
}

TEST(Slab, RefusesEmptyAndOversizedContent) {
  SlabPool pool = MakePool(1u << 20);
  EXPECT_EQ(pool.Store({}).error().code, EINVAL);
  EXPECT_EQ(pool.Store(Content(kSlabMaxExtent + 1, 0)).error().code, EFBIG);
  EXPECT_TRUE(pool.segments().empty());
}

TEST(Slab, LimitMeansNoSpace) {
  SlabPool pool = MakePool(1u << 20);
  std::vector<Extent> extents;
  for (int i = 0; i < 16; ++i) {
    auto extent = pool.Store(Content(kSlabMaxExtent, 1));
    ASSERT_TRUE(extent.has_value());
    extents.push_back(*extent);
  }
  EXPECT_EQ(pool.used_bytes(), 1u << 20);
  EXPECT_EQ(pool.Store(Content(1, 1)).error().code, ENOSPC);
  pool.Free(extents[3]);
  EXPECT_TRUE(pool.Store(Content(1, 1)).has_value());
}

TEST(Slab, WhatWasEvictedMakesRoomForAnySize) {
  SlabPool pool = MakePool(1u << 20);
  std::vector<Extent> small;
  for (;;) {
    auto extent = pool.Store(Content(100, 1));
    if (!extent) break;
    small.push_back(*extent);
  }
  EXPECT_EQ(pool.Store(Content(kSlabMaxExtent, 1)).error().code, ENOSPC);
  for (const Extent& extent : small) pool.Free(extent);
  EXPECT_EQ(pool.used_bytes(), 0u);
  for (int i = 0; i < 16; ++i) EXPECT_TRUE(pool.Store(Content(kSlabMaxExtent, 1)).has_value());
}

TEST(Slab, HazardKeepsAnExtentFromReuse) {
  std::set<uint64_t> named;
  SlabPool pool = MakePool(kSlabMaxExtent, [&](std::vector<uint64_t>* keys) {
    keys->insert(keys->end(), named.begin(), named.end());
  });
  const auto content = Content(kSlabMaxExtent, 9);
  auto extent = pool.Store(content);
  ASSERT_TRUE(extent.has_value());
  named.insert(extent->key());
  pool.Free(*extent);
  EXPECT_EQ(pool.Store(Content(10, 1)).error().code, ENOSPC);
  EXPECT_TRUE(Equal(pool.Bytes(*extent), content));
  named.clear();
  EXPECT_TRUE(pool.Store(Content(10, 1)).has_value());
}

TEST(Slab, HazardOfOneExtentDoesNotHoldUpOthers) {
  std::set<uint64_t> named;
  SlabPool pool = MakePool(2 * kSlabMaxExtent, [&](std::vector<uint64_t>* keys) {
    keys->insert(keys->end(), named.begin(), named.end());
  });
  auto first = pool.Store(Content(kSlabMaxExtent, 1));
  auto second = pool.Store(Content(kSlabMaxExtent, 2));
  ASSERT_TRUE(first.has_value() && second.has_value());
  named.insert(first->key());
  pool.Free(*first);
  pool.Free(*second);
  auto third = pool.Store(Content(kSlabMaxExtent, 3));
  ASSERT_TRUE(third.has_value());
  EXPECT_EQ(third->key(), second->key());
}

TEST(Slab, HazardsAreNotAskedForWhileThereIsRoom) {
  int asked = 0;
  SlabPool pool = MakePool(4 * kSlabMaxExtent, [&](std::vector<uint64_t>*) { ++asked; });
  std::vector<Extent> stored;
  for (int i = 0; i < 4; ++i) stored.push_back(*pool.Store(Content(kSlabMaxExtent, 1)));
  EXPECT_EQ(asked, 0);
  for (const Extent& extent : stored) pool.Free(extent);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(pool.Store(Content(kSlabMaxExtent, 1)).has_value());
  EXPECT_EQ(asked, 1);  // once for all that was freed
}

TEST(Slab, RandomUseNeverOverlaps) {
  SlabPool pool = MakePool(4u << 20);
  std::mt19937 random(7);
  std::map<uint64_t, std::pair<Extent, std::vector<uint8_t>>> live;
  uint64_t expected_used = 0;
  for (int i = 0; i < 8'000; ++i) {
    auto content = Content(1 + random() % (random() % 8 == 0 ? kSlabMaxExtent : 4000),
                           static_cast<uint8_t>(i));
    auto extent = pool.Store(content);
    if (extent) {
      expected_used += SlabClassBytes(extent->bytes);
      ASSERT_TRUE(live.emplace(extent->key(), std::pair(*extent, std::move(content))).second);
    }
    while (!live.empty() && (!extent || random() % 3 == 0)) {
      auto victim = std::next(live.begin(), static_cast<long>(random() % live.size()));
      ASSERT_TRUE(Equal(pool.Bytes(victim->second.first), victim->second.second));
      expected_used -= SlabClassBytes(victim->second.first.bytes);
      pool.Free(victim->second.first);
      live.erase(victim);
      if (random() % 2 == 0) break;
    }
    ASSERT_EQ(pool.used_bytes(), expected_used);
  }
  for (const auto& [key, entry] : live) ASSERT_TRUE(Equal(pool.Bytes(entry.first), entry.second));
}

TEST(Slab, GrowsByWholeSegmentsAndTellsOfEach) {
  std::vector<uint32_t> told;
  SlabPool pool(TestSession(), 3 * kSlabSegmentBytes, nullptr,
                [&](const Segment& segment) { told.push_back(segment.header().index); });
  const auto content = Content(kSlabMaxExtent, 1);
  for (uint64_t stored = 0; stored < kSlabSegmentBytes + kSlabMaxExtent; stored += kSlabMaxExtent) {
    ASSERT_TRUE(pool.Store(content).has_value());
  }
  EXPECT_EQ(told, (std::vector<uint32_t>{0, 1}));
  EXPECT_EQ(pool.mapped_bytes(), 2 * kSlabSegmentBytes);
}

TEST(Slab, ViewReadsWhatThePoolStored) {
  SlabPool pool = MakePool(1u << 20);
  const auto content = Content(5000, 3);
  auto extent = pool.Store(content);
  ASSERT_TRUE(extent.has_value());
  SlabView view(TestSession());
  EXPECT_TRUE(view.Bytes(*extent).empty());
  auto fd = pool.segments()[0]->OpenReadOnly();
  ASSERT_TRUE(fd.has_value());
  ASSERT_TRUE(view.Attach(std::move(*fd), 0).has_value());
  EXPECT_TRUE(Equal(view.Bytes(*extent), content));
  view.Detach(0);
  view.Detach(kMaxSlabs);
  EXPECT_TRUE(view.Bytes(*extent).empty());
  EXPECT_TRUE(view.segments().empty());
}

TEST(Slab, ViewRefusesExtentsOutsideOfTheSegment) {
  SlabPool pool = MakePool(1u << 20);
  ASSERT_TRUE(pool.Store(Content(100, 3)).has_value());
  SlabView view(TestSession());
  ASSERT_TRUE(view.Attach(std::move(*pool.segments()[0]->OpenReadOnly()), 0).has_value());
  EXPECT_TRUE(view.Bytes({0, kSlabSegmentBytes, 1}).empty());
  EXPECT_TRUE(view.Bytes({0, kSlabSegmentBytes - 64, 65}).empty());
  EXPECT_TRUE(view.Bytes({0, ~0ull, 64}).empty());
  EXPECT_TRUE(view.Bytes({0, 0, 64}).empty());
  EXPECT_TRUE(view.Bytes({1, 4096, 64}).empty());
  EXPECT_TRUE(view.Bytes({kMaxSlabs, 4096, 64}).empty());
  EXPECT_TRUE(view.Bytes({~0u, 4096, 64}).empty());
  EXPECT_EQ(view.Bytes({0, kSlabSegmentBytes - 64, 64}).size(), 64u);
}

TEST(Slab, ViewRefusesAnotherSlabOrSession) {
  SlabPool pool = MakePool(1u << 20);
  ASSERT_TRUE(pool.Store(Content(100, 3)).has_value());
  SlabView other(TestSession(2));
  EXPECT_FALSE(other.Attach(std::move(*pool.segments()[0]->OpenReadOnly()), 0).has_value());
  SlabView view(TestSession());
  EXPECT_FALSE(view.Attach(std::move(*pool.segments()[0]->OpenReadOnly()), 1).has_value());
  EXPECT_FALSE(view.Attach(std::move(*pool.segments()[0]->OpenReadOnly()), kMaxSlabs).has_value());
}

// ---- slabs of a dead broker

class AdoptedSlabs : public testing::Test {
 protected:
  static constexpr uint64_t kLimit = 1 << 20;

  std::unique_ptr<SlabPool> Pool() {
    return std::make_unique<SlabPool>(TestSession(), kLimit, nullptr, nullptr);
  }
  static std::vector<uint8_t> Content(size_t bytes, uint8_t byte) {
    return std::vector<uint8_t>(bytes, byte);
  }
  static std::unique_ptr<Segment> ReadOnly(const Segment& slab) {
    auto fd = slab.OpenReadOnly();
    EXPECT_TRUE(fd.has_value());
    auto mapped = Segment::Attach(std::move(*fd),
                                  {SegmentKind::kSlab, TestSession(), slab.header().index}, false);
    EXPECT_TRUE(mapped.has_value());
    return std::move(*mapped);
  }
};

TEST_F(AdoptedSlabs, ServeUntilTheirLastExtentIsFreed) {
  auto dead = Pool();
  const Extent one = *dead->Store(Content(5000, 'a'));
  const Extent two = *dead->Store(Content(6000, 'b'));
  auto pool = Pool();
  ASSERT_TRUE(pool->Adopt(ReadOnly(*dead->segments()[0])).has_value());
  EXPECT_FALSE(pool->Adopt(ReadOnly(*dead->segments()[0])).has_value());
  dead.reset();
  ASSERT_TRUE(pool->Keep(one));
  ASSERT_TRUE(pool->Keep(two));
  pool->DropUnused();
  EXPECT_EQ(pool->used_bytes(), SlabClassBytes(5000) + SlabClassBytes(6000));
  EXPECT_EQ(pool->Bytes(one)[4999], 'a');
  const Extent fresh = *pool->Store(Content(7000, 'c'));
  EXPECT_EQ(fresh.slab, 1u);
  pool->Free(one);
  EXPECT_EQ(pool->Bytes(two)[5999], 'b');
  EXPECT_EQ(pool->mapped_bytes(), 2 * kSlabSegmentBytes);
  pool->Free(two);
  EXPECT_EQ(pool->segments()[0], nullptr);
  EXPECT_EQ(pool->mapped_bytes(), kSlabSegmentBytes);
  EXPECT_EQ(pool->used_bytes(), SlabClassBytes(7000));
  EXPECT_EQ(pool->Bytes(fresh)[0], 'c');
}

// Whoever has it mapped may unmap it when no record and no reader names it.
TEST_F(AdoptedSlabs, AreSaidToHaveEndedWhenTheirLastReaderIsGone) {
  auto dead = Pool();
  const Extent one = *dead->Store(Content(5000, 'a'));
  std::vector<uint64_t> named;
  std::vector<uint32_t> ended;
  SlabPool pool(
      TestSession(), kLimit,
      [&](std::vector<uint64_t>* keys) { keys->insert(keys->end(), named.begin(), named.end()); },
      nullptr, [&](uint32_t index) { ended.push_back(index); });
  ASSERT_TRUE(pool.Adopt(ReadOnly(*dead->segments()[0])).has_value());
  ASSERT_TRUE(pool.Keep(one));
  pool.DropUnused();
  named = {HazardKey(7, 4096), one.key()};
  pool.Free(one);
  EXPECT_TRUE(ended.empty());
  const Extent own = *pool.Store(Content(100, 'b'));
  EXPECT_TRUE(ended.empty());
  named = {own.key(), HazardKey(1, 4096)};
  // The next time that room is looked for.
  while (pool.Store(Content(60'000, 'c'))) continue;
  EXPECT_EQ(ended, std::vector<uint32_t>{0});
}

// Told when those who have it mapped can be.
TEST_F(AdoptedSlabs, ThoseThatNobodyNamedAreSaidToHaveEndedLater) {
  auto dead = Pool();
  (void)*dead->Store(Content(100, 'a'));
  std::vector<uint32_t> ended;
  SlabPool pool(TestSession(), kLimit, nullptr, nullptr,
                [&](uint32_t index) { ended.push_back(index); });
  ASSERT_TRUE(pool.Adopt(ReadOnly(*dead->segments()[0])).has_value());
  pool.DropUnused();
  EXPECT_TRUE(ended.empty());
  ASSERT_TRUE(pool.Store(Content(100, 'b')).has_value());
  EXPECT_EQ(ended, std::vector<uint32_t>{0});
}

TEST_F(AdoptedSlabs, ThoseThatNobodyNamesGoAtOnceAndTheirNumbersAreNotUsedAgain) {
  auto dead = Pool();
  (void)*dead->Store(Content(100, 'a'));
  auto pool = Pool();
  ASSERT_TRUE(pool->Adopt(ReadOnly(*dead->segments()[0])).has_value());
  pool->DropUnused();
  EXPECT_EQ(pool->segments()[0], nullptr);
  EXPECT_EQ((*pool->Store(Content(100, 'b'))).slab, 1u);
}

TEST_F(AdoptedSlabs, ExtentsThatLeaveTheSlabAreRefused) {
  auto dead = Pool();
  const Extent one = *dead->Store(Content(100, 'a'));
  auto pool = Pool();
  ASSERT_TRUE(pool->Adopt(ReadOnly(*dead->segments()[0])).has_value());
  EXPECT_FALSE(pool->Keep({1, one.offset, one.bytes}));
  EXPECT_FALSE(pool->Keep({0, 0, one.bytes}));
  EXPECT_FALSE(pool->Keep({0, kSlabSegmentBytes - 10, 11}));
  EXPECT_FALSE(pool->Keep({0, ~0ull, 100}));
  EXPECT_FALSE(pool->Keep({0, one.offset, kSlabMaxExtent + 1}));
  EXPECT_TRUE(pool->Keep({0, kSlabSegmentBytes - 11, 11}));
}

TEST_F(AdoptedSlabs, TheirExtentsCountForTheLimitAndGiveItBack) {
  auto dead = Pool();
  std::vector<Extent> kept;
  for (;;) {
    auto extent = dead->Store(Content(60'000, 'a'));
    if (!extent) break;
    kept.push_back(*extent);
  }
  ASSERT_GT(kept.size(), 10u);
  auto pool = Pool();
  ASSERT_TRUE(pool->Adopt(ReadOnly(*dead->segments()[0])).has_value());
  for (const Extent& extent : kept) ASSERT_TRUE(pool->Keep(extent));
  pool->DropUnused();
  EXPECT_EQ(pool->Store(Content(60'000, 'b')).error().code, ENOSPC);
  // One goes, one comes: all in the one new slab.
  for (const Extent& extent : kept) {
    pool->Free(extent);
    auto fresh = pool->Store(Content(60'000, 'b'));
    ASSERT_TRUE(fresh.has_value());
    EXPECT_EQ(fresh->slab, 1u);
  }
  EXPECT_EQ(pool->segments().size(), 2u);
  EXPECT_EQ(pool->segments()[0], nullptr);
}

}  // namespace
}  // namespace airstore::shm
