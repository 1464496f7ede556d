// SPDX-License-Identifier: Apache-2.0
#include "broker/directory_parents.h"

#include <gtest/gtest.h>

namespace airstore::broker {
namespace {

TEST(DirectoryParents, ADirectoryHasChildrenUntilTheLastOneLeaves) {
  DirectoryParents parents;
  parents.Set(5, 2);
  parents.Set(6, 2);
  parents.Set(6, 2);
  EXPECT_EQ(parents.ParentOf(5), 2u);
  EXPECT_TRUE(parents.HasChildren(2));
  parents.Erase(5);
  EXPECT_TRUE(parents.HasChildren(2));
  parents.Erase(6);
  parents.Erase(6);
  EXPECT_FALSE(parents.HasChildren(2));
  EXPECT_EQ(parents.ParentOf(6), 0u);
}

TEST(DirectoryParents, AMoveLeavesTheOldParent) {
  DirectoryParents parents;
  parents.Set(5, 2);
  parents.Set(5, 3);
  EXPECT_EQ(parents.ParentOf(5), 3u);
  EXPECT_FALSE(parents.HasChildren(2));
  EXPECT_TRUE(parents.HasChildren(3));
}

}  // namespace
}  // namespace airstore::broker
