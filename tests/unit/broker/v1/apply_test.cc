// SPDX-License-Identifier: Apache-2.0
//
// Changes at an original gateway: what they leave there, what is refused, and that each is made
// once.
#include "tests/unit/broker/v1/v1_test.h"

namespace airstore::broker::v1 {
namespace {

class ApplyTest : public V1Test {};

TEST_F(ApplyTest, MakesFilesDirectoriesAndLinks) {
  const uint64_t directory = Create(kTop, "d", S_IFDIR | 0750);
  Create(directory, "f", S_IFREG | 0600);
  Create(directory, "l", S_IFLNK | 0777);
  EXPECT_EQ(original_.objects.at("d/").mode, S_IFDIR | 0750u);
  EXPECT_EQ(original_.objects.at("d/f").mode, S_IFREG | 0600u);
  EXPECT_EQ(original_.objects.at("d/l").target, "target");
}

TEST_F(ApplyTest, RefusesWhatV1HasNot) {
  const uint64_t file = Create(kTop, "f");
  for (const uint32_t type : {S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK}) {
    EXPECT_EQ(Apply(CreateOp{.parent = kTop,
                             .name = "s",
                             .inode = NewInode(),
                             .mode = type | 0600,
                             .symlink_target = {},
                             .xattrs = {}}),
              EPERM);
  }
  EXPECT_EQ(Apply(LinkOp{.inode = file, .parent = kTop, .name = "g"}), EPERM);
  EXPECT_EQ(Apply(SetXattrOp{.inode = file, .name = "user.a", .value = "b"}), EOPNOTSUPP);
  EXPECT_EQ(Apply(RemoveXattrOp{.inode = file, .name = "user.a"}), EOPNOTSUPP);
  EXPECT_EQ(Rename(kTop, "f", kTop, "g", RENAME_EXCHANGE), EINVAL);
  SetattrOp chown;
  chown.inode = file;
  chown.uid = 1234;
  EXPECT_EQ(Apply(chown), EPERM);
  chown.uid = 7;
  EXPECT_EQ(Apply(chown), 0) << "whose it is already";
  EXPECT_EQ(Apply(CreateOp{.parent = kTop,
                           .name = "\xff",
                           .inode = NewInode(),
                           .mode = S_IFREG | 0600,
                           .symlink_target = {},
                           .xattrs = {}}),
            EILSEQ);
  EXPECT_EQ(original_.objects.size(), 1u);
}

TEST_F(ApplyTest, ChmodIsDoneWhereModesAreKept) {
  const uint64_t file = Create(kTop, "f");
  ASSERT_EQ(Apply(Bytes(file, 0, "content", 7)), 0);
  SetattrOp chmod;
  chmod.inode = file;
  chmod.mode = 0755;
  EXPECT_EQ(Apply(chmod), 0);
  EXPECT_EQ(original_.objects.at("f").mode, S_IFREG | 0755u);
  EXPECT_EQ(Data("f"), "content");
  EXPECT_EQ(original_.objects.size(), 1u) << "nothing is left of finding out";
}

// Against one of the first gateways it would empty the file.
TEST_F(ApplyTest, ChmodIsRefusedWhereModesAreNotKept) {
  const uint64_t file = Create(kTop, "f");
  ASSERT_EQ(Apply(Bytes(file, 0, "content", 7)), 0);
  original_.first_era = true;
  SetattrOp chmod;
  chmod.inode = file;
  chmod.mode = 0755;
  EXPECT_EQ(Apply(chmod), EPERM);
  EXPECT_EQ(Data("f"), "content");
  EXPECT_FALSE(gateway_->traits().modes) << "from now on it is refused before it is tried";
  EXPECT_EQ(original_.objects.size(), 1u);
}

TEST_F(ApplyTest, TouchingAFileMovesItsTime) {
  Put("f", "content");
  const uint64_t file = InodeOf(kTop, "f");
  original_.now_s += 100;
  SetattrOp touch;
  touch.inode = file;
  touch.mtime_ns = original_.now_s * 1'000'000'000;
  EXPECT_EQ(Apply(touch), 0);
  EXPECT_EQ(original_.objects.at("f").mtime_s, original_.now_s);
  EXPECT_EQ(Data("f"), "content");
}

TEST_F(ApplyTest, RemovingIsAsInPosix) {
  const uint64_t directory = Create(kTop, "d", S_IFDIR | 0755);
  Create(directory, "f");
  EXPECT_EQ(Unlink(kTop, "d", true), ENOTEMPTY);
  EXPECT_EQ(Unlink(kTop, "d"), EISDIR);
  EXPECT_EQ(Unlink(directory, "f", true), ENOTDIR);
  EXPECT_EQ(Unlink(directory, "none"), ENOENT);
  EXPECT_EQ(Unlink(directory, "f"), 0);
  EXPECT_EQ(Unlink(kTop, "d", true), 0);
  EXPECT_TRUE(original_.objects.empty());
}

TEST_F(ApplyTest, WhatIsHiddenInADirectoryKeepsItFromBeingRemoved) {
  Put("d/", "", S_IFDIR | 0755);
  Put("d/._hidden", "x");
  InodeOf(kTop, "d");
  EXPECT_EQ(Unlink(kTop, "d", true), ENOTEMPTY);
  EXPECT_TRUE(original_.objects.contains("d/._hidden"));
}

TEST_F(ApplyTest, ADirectoryDoesNotGoWithItsLastName) {
  Put("d/f", "x");  // it has no object of its own
  const uint64_t directory = InodeOf(kTop, "d");
  InodeOf(directory, "f");
  EXPECT_EQ(Unlink(directory, "f"), 0);
  EXPECT_EQ(Getattr(directory).error, 0);
  Put("e/f", "x");
  const uint64_t other = InodeOf(kTop, "e");
  InodeOf(other, "f");
  EXPECT_EQ(Rename(other, "f", directory, "f"), 0);
  EXPECT_EQ(Getattr(other).error, 0);
}

TEST_F(ApplyTest, ReservedFoldersAreNotRemoved) {
  Put("Skills/", "", S_IFDIR | 0755);
  InodeOf(kTop, "Skills");
  EXPECT_EQ(Unlink(kTop, "Skills", true), EPERM);
}

TEST_F(ApplyTest, AnAnswerThatWasLostIsNoReasonToFail) {
  bool lose = true;
  original_.after = [&](const std::string& call, const std::string&) {
    const bool change = call == "Create" || call == "Delete" || call == "Rename" ||
                        call == "Write" || call == "Mkdir" || call == "Symlink";
    return change && std::exchange(lose, false) ? "!connection reset" : "";
  };
  const auto twice = [&](auto op) {
    lose = true;
    const uint64_t sequence = next_++;
    EXPECT_EQ(ApplyAs(sequence, op), -EAGAIN);
    lose = false;
    const int error = ApplyAs(sequence, op);
    EXPECT_EQ(ApplyAs(sequence, op), error) << "once more, from what is on record";
    return error;
  };
  const auto made = [&](const std::string& name, uint32_t mode) {
    return CreateOp{.parent = kTop,
                    .name = name,
                    .inode = NewInode(),
                    .mode = mode,
                    .symlink_target = S_ISLNK(mode) ? "t" : "",
                    .xattrs = {}};
  };
  const CreateOp file = made("f", S_IFREG | 0644);
  EXPECT_EQ(twice(file), 0);
  EXPECT_EQ(twice(made("d", S_IFDIR | 0755)), 0);
  EXPECT_EQ(twice(made("l", S_IFLNK | 0777)), 0);
  EXPECT_EQ(twice(Bytes(file.inode, 0, "abc", 3)), 0);
  EXPECT_EQ(Data("f"), "abc");
  EXPECT_EQ(
      twice(RenameOp{.old_parent = kTop, .old_name = "f", .new_parent = kTop, .new_name = "g"}), 0);
  EXPECT_EQ(Data("g"), "abc");
  EXPECT_EQ(twice(UnlinkOp{.parent = kTop, .name = "g"}), 0);
  EXPECT_EQ(original_.objects.size(), 2u);
}

TEST_F(ApplyTest, ABrokerThatDiedInAChangeLooksFirst) {
  bool die = true;
  original_.after = [&](const std::string& call, const std::string&) {
    return die && call == "Rename" ? "!gone" : "";
  };
  const uint64_t file = Create(kTop, "f");
  ASSERT_EQ(Apply(Bytes(file, 0, "abc", 3)), 0);
  const RenameOp rename{.old_parent = kTop, .old_name = "f", .new_parent = kTop, .new_name = "g"};
  const uint64_t sequence = next_++;
  EXPECT_EQ(ApplyAs(sequence, rename), -EAGAIN);
  die = false;
  const OpenedSession opened = Connect();
  EXPECT_TRUE(opened.resumed);
  EXPECT_EQ(opened.last_applied_sequence, sequence - 1);
  EXPECT_EQ(ApplyAs(sequence, rename), 0);
  EXPECT_EQ(InodeOf(kTop, "g"), file);
  EXPECT_EQ(Data("g"), "abc");
}

TEST_F(ApplyTest, AMomentaryFailureBehindTheGatewayIsTriedAgain) {
  int failures = 2;
  original_.before = [&](const std::string& call, const std::string&) -> std::string {
    return call == "Create" && failures-- > 0 ? "SlowDown: reduce your request rate" : "";
  };
  Create(kTop, "f");
  EXPECT_TRUE(original_.objects.contains("f"));
}

TEST_F(ApplyTest, CreationIsExclusive) {
  Put("f", "of another host");
  EXPECT_EQ(Apply(CreateOp{.parent = kTop,
                           .name = "f",
                           .inode = NewInode(),
                           .mode = S_IFREG | 0644,
                           .symlink_target = {},
                           .xattrs = {}}),
            EEXIST);
  EXPECT_EQ(Data("f"), "of another host");
}

}  // namespace
}  // namespace airstore::broker::v1
