// SPDX-License-Identifier: Apache-2.0
#include "frontends/fuse/replies.h"

#include <gtest/gtest.h>

namespace airstore::fuse {
namespace {

TEST(Replies, TimesBeforeTheEpochKeepTheirFraction) {
  shm::InodeRecord record{};
  record.mtime_ns = -1;
  const struct stat st = StatOf(record);
  EXPECT_EQ(-1, st.st_mtim.tv_sec);
  EXPECT_EQ(999'999'999, st.st_mtim.tv_nsec);
}

TEST(Replies, BothFormsOfAnEntrySayTheSame) {
  volume::Node node;
  node.record.inode = 10;
  node.record.generation = 2;
  node.record.mode = S_IFREG | 0640;
  node.record.nlink = 3;
  node.record.uid = 4;
  node.record.gid = 5;
  node.record.size = 6000;
  node.record.allocated_bytes = 8192;
  node.record.mtime_ns = 1'500'000'000;
  node.attr_seconds = 9;
  const fuse_entry_param entry = EntryOf(node);
  const abi::EntryOut raw = RawEntryOf(node);
  EXPECT_EQ(entry.ino, raw.nodeid);
  EXPECT_EQ(entry.generation, raw.generation);
  EXPECT_EQ(entry.attr_timeout, static_cast<double>(raw.attr_valid));
  EXPECT_EQ(entry.entry_timeout, static_cast<double>(raw.entry_valid));
  EXPECT_EQ(static_cast<uint64_t>(entry.attr.st_size), raw.attr.size);
  EXPECT_EQ(16u, raw.attr.blocks);
  EXPECT_EQ(entry.attr.st_mode, raw.attr.mode);
  EXPECT_EQ(1u, raw.attr.mtime);
  EXPECT_EQ(500'000'000u, raw.attr.mtimensec);
}

TEST(Replies, OpenFlagsFollowTheMode) {
  volume::Opened opened;
  opened.keep_cache = true;
  EXPECT_EQ(abi::kFopenKeepCache | abi::kFopenNoFlush, RawOpenOf(opened).open_flags);
  opened.tell_close = true;
  EXPECT_EQ(abi::kFopenKeepCache, RawOpenOf(opened).open_flags);
  opened.handle.mode = shm::kOpenPassthrough | shm::kOpenForWrite;
  opened.backing_id = 12;
  EXPECT_EQ(abi::kFopenPassthrough, RawOpenOf(opened).open_flags);
  EXPECT_EQ(12, RawOpenOf(opened).backing_id);
  opened.handle.mode = shm::kOpenDirect | shm::kOpenForWrite;
  EXPECT_EQ(abi::kFopenDirectIo | abi::kFopenParallelDirectWrites, RawOpenOf(opened).open_flags);
  EXPECT_EQ(0, RawOpenOf(opened).backing_id);
}

}  // namespace
}  // namespace airstore::fuse
