// SPDX-License-Identifier: Apache-2.0
#include "broker/inode_cache.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <vector>

#include "tests/unit/broker/fake_mount.h"

namespace airstore::broker {
namespace {

// Content of a file without a name may be nowhere else.
TEST(InodeCache, SmallContentMakesRoomUnlessItsFileHasLostItsName) {
  constexpr uint64_t kFiles = 400;
  constexpr uint64_t kNameless = 2;
  auto meta = shm::MetaWriter::Create({}, {1024, 1024, 16});
  ASSERT_TRUE(meta);
  MountSet mounts;
  InodeCache inodes(std::move(*meta), shm::SessionId{}, 8u << 20, &mounts,
                    [](const shm::Segment&) {});
  const std::vector<uint8_t> content(60'000, 'x');
  for (uint64_t inode = kNameless; inode < kNameless + kFiles; ++inode) {
    Attr attr;
    attr.inode = inode;
    attr.mode = S_IFREG | 0644;
    attr.size = content.size();
    ASSERT_TRUE(inodes.Insert(attr, false));
    ASSERT_TRUE(inodes.StoreSmall(inode, content)) << inode;
    if (inode == kNameless) {
      inodes.Update(inode, [](shm::InodeRecord& record) { record.flags |= shm::kOrphan; });
    }
  }
  const auto has_content = [&](uint64_t inode) {
    return inodes.Get(inode)->content_kind == static_cast<uint32_t>(shm::ContentKind::kSlab);
  };
  EXPECT_TRUE(has_content(kNameless));
  uint64_t others = 0;
  for (uint64_t inode = kNameless + 1; inode < kNameless + kFiles; ++inode) {
    others += has_content(inode) ? 1 : 0;
  }
  EXPECT_LT(others, kFiles / 2) << "nothing had to make room";
  EXPECT_TRUE(has_content(kNameless + kFiles - 1));
}

}  // namespace
}  // namespace airstore::broker
