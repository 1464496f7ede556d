// SPDX-License-Identifier: Apache-2.0
//
// Hashes kept in short against a vector of all of them.
#include "broker/block_hashes.h"

#include <gtest/gtest.h>

#include <random>

namespace airstore::broker {
namespace {

TEST(BlockHashes, AreWhatAVectorWouldHold) {
  std::mt19937 random(3);
  const auto below = [&](uint64_t limit) { return random() % limit; };
  std::vector<uint64_t> model;
  BlockHashes hashes;
  for (int step = 0; step < 3000; ++step) {
    switch (below(8)) {
      case 0: {
        const uint64_t size = below(2500);
        model.resize(size);
        hashes.Resize(size);
        break;
      }
      case 1:
        if (below(20) == 0) {
          std::fill(model.begin(), model.end(), 0);
          hashes.Forget();
        }
        break;
      default: {  // a run, often of the same
        if (model.empty()) break;
        const bool same = below(3) != 0;
        const uint64_t hash = below(4);
        const uint64_t first = below(model.size());
        const uint64_t end = std::min<uint64_t>(model.size(), first + 1 + below(1500));
        for (uint64_t i = first; i < end; ++i) {
          model[i] = same ? hash : below(4);
          hashes.Set(i, model[i]);
        }
      }
    }
    ASSERT_TRUE(hashes == model) << step;
    ASSERT_EQ(hashes[model.size()], 0u);
    for (uint64_t i = 0; i < model.size();) {
      const uint64_t until = hashes.SameUntil(i);
      ASSERT_GT(until, i);
      ASSERT_LE(until, model.size());
      for (; i < until; ++i) ASSERT_EQ(model[i], model[until - 1]) << step;
    }
  }
}

TEST(BlockHashes, FilledOnesEndWhereTheFileEnds) {
  BlockHashes hashes;
  hashes.Resize(700);
  hashes.Fill(9);
  EXPECT_EQ(hashes[0], 9u);
  EXPECT_EQ(hashes[699], 9u);
  hashes.Resize(1500);
  EXPECT_EQ(hashes[699], 9u);
  EXPECT_EQ(hashes[700], 0u);
  EXPECT_EQ(hashes[1400], 0u);
  hashes.Forget();
  EXPECT_EQ(hashes[0], 0u);
}

}  // namespace
}  // namespace airstore::broker
