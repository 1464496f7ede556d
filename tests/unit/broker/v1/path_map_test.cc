// SPDX-License-Identifier: Apache-2.0
#include "broker/v1/path_map.h"

#include <gtest/gtest.h>

namespace airstore::broker::v1 {
namespace {

TEST(PathMap, WalksUpToTheRoot) {
  PathMap map;
  map.Bind(kRoot, "a", 10);
  map.Bind(10, "b", 11);
  EXPECT_EQ(map.PathOf(kRoot), "");
  EXPECT_EQ(map.PathOf(11), "a/b");
  EXPECT_EQ(map.Find(10, "b"), 11u);
  EXPECT_EQ(map.ParentOf(11), 10u);
  EXPECT_FALSE(map.PathOf(12));
}

TEST(PathMap, ARenameTakesAlongWhatIsBelow) {
  PathMap map;
  map.Bind(kRoot, "a", 10);
  map.Bind(10, "b", 11);
  map.Bind(11, "c", 12);
  map.Bind(kRoot, "z", 13);
  ASSERT_TRUE(map.Move(10, "b", 13, "moved"));
  EXPECT_EQ(map.PathOf(12), "z/moved/c");
  EXPECT_EQ(map.Find(10, "b"), 0u);
  EXPECT_FALSE(map.Move(10, "b", 13, "again"));
}

TEST(PathMap, WhatIsReplacedHasNoNameAnyMore) {
  PathMap map;
  map.Bind(kRoot, "a", 10);
  map.Bind(kRoot, "b", 11);
  map.Move(kRoot, "a", kRoot, "b");
  EXPECT_EQ(map.PathOf(10), "b");
  EXPECT_FALSE(map.PathOf(11));
  map.Bind(kRoot, "b", 12);
  EXPECT_FALSE(map.PathOf(10));
  map.Bind(kRoot, "c", 12);
  EXPECT_EQ(map.Find(kRoot, "b"), 0u) << "one number has one path";
}

TEST(PathMap, WhatIsBelowALostDirectoryHasNoPath) {
  PathMap map;
  map.Bind(kRoot, "a", 10);
  map.Bind(10, "b", 11);
  map.Unbind(kRoot, "a");
  EXPECT_FALSE(map.PathOf(11));
}

TEST(PathMap, ALoopEnds) {
  PathMap map;
  map.Bind(11, "a", 10);
  map.Bind(10, "b", 11);
  EXPECT_FALSE(map.PathOf(10));
}

}  // namespace
}  // namespace airstore::broker::v1
