// SPDX-License-Identifier: Apache-2.0
//
// The algebra of byte ranges against a model with one entry for each byte.
#include "broker/lock_ranges.h"

#include <gtest/gtest.h>

#include <array>
#include <random>

namespace airstore::broker {
namespace {

constexpr size_t kBytes = 40;
constexpr uint64_t kOwners = 4;

// Every byte says what each owner has there.
class Model {
 public:
  bool Conflict(const LockRange& wanted) const {
    if (wanted.type == LockType::kUnlock) return false;
    for (uint64_t owner = 0; owner < kOwners; ++owner) {
      if (owner == wanted.owner.id) continue;
      for (uint64_t byte = wanted.first; byte <= Last(wanted); ++byte) {
        const LockType held = bytes_[byte][owner];
        if (held == LockType::kUnlock) continue;
        if (held == LockType::kExclusive || wanted.type == LockType::kExclusive) return true;
      }
    }
    return false;
  }
  void Set(const LockRange& wanted) {
    for (uint64_t byte = wanted.first; byte <= Last(wanted); ++byte) {
      bytes_[byte][wanted.owner.id] = wanted.type;
    }
  }
  void Drop(uint64_t owner) {
    for (auto& byte : bytes_) byte[owner] = LockType::kUnlock;
  }
  void ExpectSame(const LockRanges& ranges) const {
    Model other;
    for (const LockRange& held : ranges.all()) {
      for (uint64_t byte = held.first; byte <= Last(held); ++byte) {
        ASSERT_EQ(other.bytes_[byte][held.owner.id], LockType::kUnlock) << "held twice";
      }
      other.Set(held);
      // Touching ranges of one type are one.
      for (const LockRange& next : ranges.all()) {
        ASSERT_FALSE(next.owner == held.owner && next.type == held.type &&
                     held.last != UINT64_MAX && held.last + 1 == next.first);
      }
    }
    ASSERT_TRUE(other.bytes_ == bytes_);
  }

 private:
  // The last byte of the model stands for all behind it.
  static uint64_t Last(const LockRange& range) {
    return std::min<uint64_t>(range.last, kBytes - 1);
  }
  std::array<std::array<LockType, kOwners>, kBytes> bytes_{};
};

TEST(LockRanges, AgreesWithEveryByte) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int round = 0; round < 200; ++round) {
    LockRanges ranges;
    Model model;
    int refused = 0;
    for (int step = 0; step < 200; ++step) {
      LockRange wanted;
      wanted.owner = {static_cast<uint32_t>(0), random() % kOwners};
      wanted.type = static_cast<LockType>(random() % 3);
      wanted.first = random() % kBytes;
      wanted.last = random() % 5 == 0 ? UINT64_MAX : wanted.first + random() % 12;
      if (wanted.last >= kBytes - 1) wanted.last = UINT64_MAX;  // what the model can say
      if (random() % 20 == 0) {
        ranges.Drop(wanted.owner);
        model.Drop(wanted.owner.id);
        continue;
      }
      const LockRange* conflict = ranges.Conflict(wanted);
      ASSERT_EQ(conflict != nullptr, model.Conflict(wanted));
      ASSERT_EQ(conflict != nullptr, !ranges.Holders(wanted).empty());
      if (conflict != nullptr) {
        ++refused;
        ASSERT_NE(conflict->owner, wanted.owner);
        continue;
      }
      ranges.Set(wanted);
      model.Set(wanted);
      model.ExpectSame(ranges);
      if (HasFatalFailure()) return;
    }
    EXPECT_GT(refused, 0);
  }
}

TEST(LockRanges, AnOwnerIsOfItsMount) {
  LockRanges ranges;
  ranges.Set({{0, 7}, LockType::kExclusive, 0, 9, 1});
  EXPECT_EQ(ranges.Conflict({{0, 7}, LockType::kExclusive, 5, 5, 1}), nullptr);
  ASSERT_NE(ranges.Conflict({{1, 7}, LockType::kShared, 5, 5, 1}), nullptr);
  EXPECT_EQ(ranges.Conflict({{1, 7}, LockType::kShared, 10, 10, 1}), nullptr);
}

}  // namespace
}  // namespace airstore::broker
