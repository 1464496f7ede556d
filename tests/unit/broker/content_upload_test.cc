// SPDX-License-Identifier: Apache-2.0
#include "broker/content_upload.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "broker/content_file.h"
#include "shm/base/fd.h"
#include "tests/unit/broker/temp_dir.h"

namespace airstore::broker {
namespace {

// Others wait for the thread that compares: it goes on where it was when it is asked again.
TEST(FindDirty, ComparesInSlices) {
  constexpr uint64_t kBlocks = 5;
  constexpr uint64_t kSize = kBlocks * kContentBlock - 100;
  TempDir directory;
  const std::string path = directory.Write("file", std::string(kSize, 'x'));
  const UniqueFd file(open(path.c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_TRUE(file);
  BlockHashes sent(ReadForSending(file.get(), {0, kSize}).hashes);
  for (const uint64_t block : {1, 4}) sent.Set(block, kUnknownHash);
  std::vector<uint64_t> ends;
  std::vector<uint64_t> found;
  for (uint64_t from = 0; from < kSize;) {
    const DirtyRanges slice =
        FindDirty(file.get(), from, kSize, false, sent, kContentBlock, 2 * kContentBlock);
    ASSERT_GT(slice.end, from);
    for (const ByteRange& range : slice.ranges) found.push_back(range.offset);
    ends.push_back(from = slice.end);
  }
  EXPECT_EQ(ends, (std::vector<uint64_t>{2 * kContentBlock, 4 * kContentBlock, kSize}));
  EXPECT_EQ(found, (std::vector<uint64_t>{kContentBlock, 4 * kContentBlock}));
}

}  // namespace
}  // namespace airstore::broker
