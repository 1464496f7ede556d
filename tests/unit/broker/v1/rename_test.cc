// SPDX-License-Identifier: Apache-2.0
//
// Renames at gateways that copy and remove, a thousand objects at a time, and may stop half-way.
#include "tests/unit/broker/v1/v1_test.h"

namespace airstore::broker::v1 {
namespace {

class RenameTest : public V1Test {
 protected:
  void Fill(const std::string& directory, int files) {
    Put(directory + "/", "", S_IFDIR | 0750);
    for (int i = 0; i < files; ++i) {
      Put(directory + "/" + std::to_string(i % 7) + "/" + std::to_string(i), std::to_string(i));
    }
    Put(directory + "/empty/", "", S_IFDIR | 0700);
  }
  void ExpectMoved(const std::string& from, const std::string& to, int files) {
    for (const auto& [path, object] : original_.objects) {
      EXPECT_NE(path.rfind(from + "/", 0), 0u) << path;
    }
    for (int i = 0; i < files; ++i) {
      const std::string path = to + "/" + std::to_string(i % 7) + "/" + std::to_string(i);
      ASSERT_TRUE(original_.objects.contains(path)) << path;
      EXPECT_EQ(Data(path), std::to_string(i));
    }
    EXPECT_EQ(original_.objects.at(to + "/empty/").mode, S_IFDIR | 0700u);
    EXPECT_EQ(original_.objects.at(to + "/").mode, S_IFDIR | 0750u);
  }
};

TEST_F(RenameTest, MovesAWholeDirectory) {
  Fill("from", 2500);
  const uint64_t directory = InodeOf(kTop, "from");
  const uint64_t below = InodeOf(InodeOf(directory, "3"), "3");
  EXPECT_EQ(Rename(kTop, "from", kTop, "to"), 0);
  ExpectMoved("from", "to", 2500);
  EXPECT_EQ(InodeOf(kTop, "to"), directory);
  EXPECT_EQ(Getattr(below).error, 0) << "what is below it is where it went";
}

TEST_F(RenameTest, MovesADirectoryOfTheFirstEra) {
  Connect(true);
  Fill("from", 50);
  for (auto& [path, object] : original_.objects) {
    if (path.back() == '/') object.mode = S_IFDIR | 0755;
  }
  InodeOf(kTop, "from");
  EXPECT_EQ(Rename(kTop, "from", kTop, "to"), 0);
  EXPECT_TRUE(original_.objects.contains("to/3/3"));
  EXPECT_TRUE(original_.objects.contains("to/empty/"));
  EXPECT_FALSE(original_.objects.contains("from/"));
}

TEST_F(RenameTest, ABrokerThatDiesHalfWayGoesOn) {
  Fill("from", 300);
  const uint64_t directory = InodeOf(kTop, "from");
  int renames = 0;
  original_.before = [&](const std::string& call, const std::string&) -> std::string {
    return call == "Rename" && ++renames > 100 ? "!gone" : "";
  };
  const RenameOp op{.old_parent = kTop, .old_name = "from", .new_parent = kTop, .new_name = "to"};
  const uint64_t sequence = next_++;
  EXPECT_EQ(ApplyAs(sequence, op), -EAGAIN);
  EXPECT_TRUE(original_.objects.contains("to/0/0"));
  EXPECT_TRUE(original_.objects.contains("from/6/6"));
  original_.before = {};
  Connect();
  EXPECT_EQ(ApplyAs(sequence, op), 0);
  ExpectMoved("from", "to", 300);
  EXPECT_EQ(InodeOf(kTop, "to"), directory);
}

TEST_F(RenameTest, ATargetIsLookedAt) {
  Create(kTop, "f");
  Create(kTop, "g");
  const uint64_t full = Create(kTop, "full", S_IFDIR | 0755);
  Create(full, "x");
  Create(kTop, "empty", S_IFDIR | 0755);
  Create(kTop, "d", S_IFDIR | 0755);
  EXPECT_EQ(Rename(kTop, "f", kTop, "g", RENAME_NOREPLACE), EEXIST);
  EXPECT_EQ(Rename(kTop, "d", kTop, "full"), ENOTEMPTY);
  EXPECT_EQ(Rename(kTop, "f", kTop, "full"), EISDIR);
  EXPECT_EQ(Rename(kTop, "d", kTop, "f"), ENOTDIR);
  EXPECT_EQ(Rename(kTop, "none", kTop, "x"), ENOENT);
  EXPECT_EQ(Rename(kTop, "d", kTop, "empty"), 0);
  EXPECT_EQ(Rename(kTop, "f", kTop, "g"), 0);
  EXPECT_EQ(Lookup(kTop, "f").error, ENOENT);
}

TEST_F(RenameTest, AnOldNameThatStayedIsRemoved) {
  const uint64_t file = Create(kTop, "f");
  ASSERT_EQ(Apply(Bytes(file, 0, "abc", 3)), 0);
  original_.after = [&](const std::string& call, const std::string& path) -> std::string {
    if (call == "Rename") original_.objects[path] = original_.objects["g"];
    return "";
  };
  EXPECT_EQ(Rename(kTop, "f", kTop, "g"), 0);
  EXPECT_FALSE(original_.objects.contains("f"));
  EXPECT_EQ(Data("g"), "abc");
}

TEST_F(RenameTest, NamesThatCannotBeCopiedThereAreCopiedFromHere) {
  const std::string odd = "50% of + and ?";
  Create(kTop, odd);
  ASSERT_EQ(Apply(Bytes(InodeOf(kTop, odd), 0, "abc", 3)), 0);
  original_.before = [&](const std::string& call, const std::string&) {
    return call == "Rename" ? "NoSuchKey: The specified key does not exist." : "";
  };
  EXPECT_EQ(Rename(kTop, odd, kTop, "g"), 0);
  EXPECT_EQ(Data("g"), "abc");
  EXPECT_FALSE(original_.objects.contains(odd));
}

// A removal without effect must not have it go on for ever, nor be taken for done.
TEST_F(RenameTest, WhatDoesNotGoIsSaid) {
  Fill("from", 3);
  InodeOf(kTop, "from");
  original_.after = [&](const std::string& call, const std::string& path) -> std::string {
    if (call == "Delete" || call == "Rename") Put(path, "back");
    return "";
  };
  EXPECT_EQ(Rename(kTop, "from", kTop, "to"), EIO);
}

}  // namespace
}  // namespace airstore::broker::v1
