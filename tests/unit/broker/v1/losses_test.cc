// SPDX-License-Identifier: Apache-2.0
//
// How the original loses data, seen from what is sent to its gateway: none of it happens here.
// Those of its ways that are about files that are open have their tests on a real mount.
#include "tests/unit/broker/v1/v1_test.h"

namespace airstore::broker::v1 {
namespace {

class LossesTest : public V1Test {
 protected:
  static BlockId Id(uint8_t number) {
    BlockId id;
    id.bytes[0] = number;
    return id;
  }
};

TEST_F(LossesTest, AnOutageLosesNothing) {
  const uint64_t file = Create(kTop, "f");
  int failures = 20;
  original_.before = [&](const std::string&, const std::string&) -> std::string {
    return failures-- > 0 ? "!unavailable" : "";
  };
  const uint64_t sequence = next_++;
  int error = 0;
  int tries = 0;
  while ((error = ApplyAs(sequence, Bytes(file, 0, "kept", 4))) == -EAGAIN) ++tries;
  EXPECT_EQ(error, 0);
  EXPECT_GE(tries, 6);
  EXPECT_EQ(Data("f"), "kept");
}

TEST_F(LossesTest, AWriteAtTheBeginningKeepsTheRest) {
  Put("f", "0123456789");
  const uint64_t file = InodeOf(kTop, "f");
  EXPECT_EQ(Apply(Bytes(file, 0, "ab", 10)), 0);
  EXPECT_EQ(Data("f"), "ab23456789");
}

TEST_F(LossesTest, SeveralRangesAllArrive) {
  Put("f", "0123456789");
  const uint64_t file = InodeOf(kTop, "f");
  WriteOp op = Bytes(file, 1, "A", 12);
  op.extents.push_back(WriteExtent{.offset = 5, .length = 1, .source = std::string("B")});
  op.extents.push_back(WriteExtent{.offset = 11, .length = 1, .source = std::string("C")});
  EXPECT_EQ(Apply(op), 0);
  EXPECT_EQ(Data("f"), std::string("0A234B6789\0C", 12));
}

TEST_F(LossesTest, BetweenTwoUpdatesBytesStay) {
  Put("f", "#header\n0123456789");
  const uint64_t file = InodeOf(kTop, "f");
  WriteOp op = Bytes(file, 0, std::string("#h\0\0der\n", 8), 18);
  op.extents.push_back(WriteExtent{.offset = 17, .length = 1, .source = std::string("Z")});
  EXPECT_EQ(Apply(op), 0);
  EXPECT_EQ(Data("f"), std::string("#h\0\0der\n012345678Z", 18)) << "NULs are bytes like others";
}

TEST_F(LossesTest, AFileThatWasEmptiedAndWrittenBehindHasZerosBefore) {
  Put("f", "0123456789");
  const uint64_t file = InodeOf(kTop, "f");
  SetattrOp cut;
  cut.inode = file;
  cut.size = 0;
  EXPECT_EQ(Apply(cut), 0);
  EXPECT_EQ(Apply(Bytes(file, 4, "x", 5)), 0);
  EXPECT_EQ(Data("f"), std::string("\0\0\0\0x", 5));
}

TEST_F(LossesTest, WhatIsCutOffDoesNotComeBack) {
  Put("f", "0123456789");
  const uint64_t file = InodeOf(kTop, "f");
  EXPECT_EQ(Apply(Bytes(file, 8, "XY", 10)), 0);
  SetattrOp cut;
  cut.inode = file;
  cut.size = 3;
  EXPECT_EQ(Apply(cut), 0);
  cut.size = 6;
  EXPECT_EQ(Apply(cut), 0);
  EXPECT_EQ(Data("f"), std::string("012\0\0\0", 6));
  EXPECT_EQ(Apply(Bytes(file, 0, "ab", 2)), 0);
  EXPECT_EQ(Data("f"), "ab");
}

TEST_F(LossesTest, AWriteDoesNotBringBackWhatWasRemoved) {
  const uint64_t file = Create(kTop, "f");
  EXPECT_EQ(Unlink(kTop, "f"), 0);
  EXPECT_EQ(Apply(Bytes(file, 0, "back", 4)), ENOENT);
  EXPECT_TRUE(original_.objects.empty());
}

TEST_F(LossesTest, CreatingDoesNotEmptyWhatIsThere) {
  Connect(true);
  Put("f", "content");
  EXPECT_EQ(Apply(CreateOp{.parent = kTop,
                           .name = "f",
                           .inode = NewInode(),
                           .mode = S_IFREG | 0644,
                           .symlink_target = {},
                           .xattrs = {}}),
            EEXIST);
  EXPECT_EQ(Data("f"), "content");
}

// Between the look and the write another host may still come: v1 has no condition.
TEST_F(LossesTest, WhatAnotherHostWroteIsNotOverwritten) {
  Put("f", "0123456789");
  const uint64_t file = InodeOf(kTop, "f");
  const uint64_t version = Getattr(file).entry.attr.content_version;
  original_.now_s += 5;
  Put("f", "of another host");
  EXPECT_EQ(Apply(Bytes(file, 0, "mine", 10), version), ESTALE);
  EXPECT_EQ(Data("f"), "of another host");
  EXPECT_EQ(Apply(Bytes(file, 0, "mine", 15), Getattr(file).entry.attr.content_version), 0);
  EXPECT_EQ(Data("f"), "minenother host");
}

// Nothing of it was made, so what another host has done meanwhile counts.
TEST_F(LossesTest, AnOutageWhileLookingIsNoHalfOfAChange) {
  Put("f", "0123456789");
  const uint64_t file = InodeOf(kTop, "f");
  const uint64_t version = Getattr(file).entry.attr.content_version;
  const uint64_t sequence = next_++;
  original_.before = [](const std::string& call, const std::string&) {
    return call == "Stat" || call == "Read" ? "!unavailable" : "";
  };
  EXPECT_EQ(ApplyAs(sequence, Bytes(file, 0, "mine", 10), version), -EAGAIN);
  original_.before = [](const std::string& call, const std::string&) {
    return call == "Read" ? "!unavailable" : "";
  };
  EXPECT_EQ(ApplyAs(sequence, Bytes(file, 0, "mine", 10), version), -EAGAIN);
  original_.before = {};
  original_.now_s += 5;
  Put("f", "of another host");
  EXPECT_EQ(ApplyAs(sequence, Bytes(file, 0, "mine", 10), version), ESTALE);
  EXPECT_EQ(Data("f"), "of another host");
}

TEST_F(LossesTest, AnOutageWhileLookingDoesNotReplaceWhatCame) {
  const uint64_t file = Create(kTop, "f");
  ASSERT_EQ(Apply(Bytes(file, 0, "mine", 4)), 0);
  RenameOp rename{.old_parent = kTop, .old_name = "f", .new_parent = kTop, .new_name = "g"};
  rename.flags = RENAME_NOREPLACE;
  const uint64_t sequence = next_++;
  original_.before = [](const std::string& call, const std::string&) {
    return call == "Stat" ? "!unavailable" : "";
  };
  EXPECT_EQ(ApplyAs(sequence, rename), -EAGAIN);
  original_.before = {};
  Put("g", "of another host");
  EXPECT_EQ(ApplyAs(sequence, rename), EEXIST);
  EXPECT_EQ(Data("g"), "of another host");
}

TEST_F(LossesTest, OwnWritesAreNotTakenForAnothers) {
  const uint64_t file = Create(kTop, "f");
  ASSERT_EQ(Apply(Bytes(file, 0, "one", 3)), 0);
  const uint64_t version = version_;
  EXPECT_EQ(Apply(Bytes(file, 3, "two", 6), version), 0);
  EXPECT_EQ(Data("f"), "onetwo");
}

// The gateway gives a file new times for all of these.
TEST_F(LossesTest, OwnRenamesAndTouchesAreNotTakenForAnothers) {
  const uint64_t directory = Create(kTop, "d", S_IFDIR | 0755);
  const uint64_t file = Create(directory, "f");
  ASSERT_EQ(Apply(Bytes(file, 0, "one", 3)), 0);
  const uint64_t version = version_;
  const int64_t mtime = Getattr(file).entry.attr.mtime_ns;
  original_.now_s += 5;
  EXPECT_EQ(Rename(directory, "f", directory, "g"), 0);
  original_.now_s += 5;
  EXPECT_EQ(Rename(kTop, "d", kTop, "e"), 0);
  original_.now_s += 5;
  SetattrOp chmod;
  chmod.inode = file;
  chmod.mode = 0700;
  EXPECT_EQ(Apply(chmod), 0);
  EXPECT_EQ(Getattr(file).entry.attr.mtime_ns, mtime);
  original_.now_s += 5;
  SetattrOp touch;
  touch.inode = file;
  touch.mtime_ns = mtime + 7;
  EXPECT_EQ(Apply(touch), 0);
  EXPECT_EQ(Getattr(file).entry.attr.mtime_ns, mtime + 7);
  EXPECT_EQ(Getattr(file).entry.attr.content_version, version);
  EXPECT_EQ(Apply(Bytes(file, 3, "two", 6), version), 0);
  EXPECT_EQ(Data("e/g"), "onetwo");
}

// Half of it is at the gateway; the next broker knows that that was us.
TEST_F(LossesTest, OwnHalvesAreNotTakenForAnothers) {
  Put("f", std::string(100, 'o'));
  const uint64_t file = InodeOf(kTop, "f");
  const uint64_t version = Getattr(file).entry.attr.content_version;
  original_.after = [](const std::string& call, const std::string&) {
    return call == "Write" ? "!gone" : "";
  };
  original_.now_s += 5;
  const uint64_t sequence = next_++;
  EXPECT_EQ(ApplyAs(sequence, Bytes(file, 0, "half", 100), version), -EAGAIN);
  original_.after = {};
  Connect();
  EXPECT_EQ(ApplyAs(sequence, TouchOp{file}), 0);
  EXPECT_NE(version_, 0u);
  EXPECT_NE(version_, version);
  EXPECT_EQ(Apply(Bytes(file, 0, std::string(100, 'n'), 100), version_), 0);
  EXPECT_EQ(Data("f"), std::string(100, 'n'));
}

TEST_F(LossesTest, LargeFilesKeepWhatIsBehindTheChange) {
  const std::string before(40u << 20, 'o');
  Put("f", before);
  const uint64_t file = InodeOf(kTop, "f");
  ASSERT_TRUE(RunTask(loop_, gateway_->PutBlock(Id(1), std::string(1000, 'n'))));
  WriteOp op;
  op.inode = file;
  op.size = before.size();
  op.extents.push_back(
      WriteExtent{.offset = 0, .length = 900, .source = std::make_pair(Id(1), uint64_t{100})});
  ASSERT_EQ(Apply(op), 0);
  std::string after = before;
  after.replace(0, 900, std::string(900, 'n'));
  EXPECT_TRUE(Data("f") == after);
  EXPECT_EQ(original_.objects.size(), 1u) << "nothing is left beside it";
}

TEST_F(LossesTest, ALargeFileIsNeverHalfOfEach) {
  const std::string before(40u << 20, 'o');
  Put("f", before);
  const uint64_t file = InodeOf(kTop, "f");
  int writes = 0;
  original_.before = [&](const std::string& call, const std::string&) -> std::string {
    return call == "Write" && ++writes == 3 ? "!gone" : "";
  };
  EXPECT_EQ(Apply(Bytes(file, 0, "new", before.size())), -EAGAIN);
  EXPECT_TRUE(Data("f") == before);
}

TEST_F(LossesTest, WhatIsTooLargeIsSaid) {
  const uint64_t file = Create(kTop, "f");
  SetattrOp grow;
  grow.inode = file;
  grow.size = (64u << 20) + 1;
  EXPECT_EQ(Apply(grow), EFBIG);
  EXPECT_EQ(Apply(Bytes(file, 64u << 20, "x", (64u << 20) + 1)), EFBIG);
  grow.size = 64u << 20;
  EXPECT_EQ(Apply(grow), 0);
}

}  // namespace
}  // namespace airstore::broker::v1
