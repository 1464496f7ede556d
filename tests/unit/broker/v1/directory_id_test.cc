// SPDX-License-Identifier: Apache-2.0
#include "broker/v1/directory_id.h"

#include <gtest/gtest.h>

namespace airstore::broker::v1 {
namespace {

TEST(DirectoryId, IsAsTheOriginalHasIt) {
  EXPECT_EQ(RootDirectoryId(), "6e9bb5d9f9f2fe94b0201c2a55ffc9c2ba57c27008bc2a95a635b4ae7f355f99");
  EXPECT_NE(GenerateDirectoryId("", "/", 1), RootDirectoryId());
}

}  // namespace
}  // namespace airstore::broker::v1
