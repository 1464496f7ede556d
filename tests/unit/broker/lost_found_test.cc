// SPDX-License-Identifier: Apache-2.0
#include "broker/lost_found.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <fstream>
#include <iterator>

#include "tests/unit/broker/temp_dir.h"

namespace airstore::broker {
namespace {

std::string TextOf(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

class LostFoundTest : public testing::Test {
 protected:
  TempDir temp_;
  LostFound lost_{temp_.path(), "session", "work", "gateway:1"};
};

TEST_F(LostFoundTest, ThereIsNothingBeforeSomethingIsLost) {
  EXPECT_TRUE(lost_.empty());
  EXPECT_TRUE(ListLost(temp_.path()).empty());
  EXPECT_FALSE(std::filesystem::exists(temp_ / "lost+found"));
}

TEST_F(LostFoundTest, KeptContentIsListedWithAllThatIsKnown) {
  lost_.AddOwner(1000);
  const std::string content = temp_.Write("content", "precious");
  ASSERT_TRUE(lost_.Keep({.id = "",
                          .what = "content",
                          .path = "/a/b",
                          .inode = 7,
                          .error = EDQUOT,
                          .size = 8,
                          .file = ""},
                         content));
  EXPECT_FALSE(std::filesystem::exists(content));
  const auto entries = ListLost(temp_.path());
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].workspace, "work");
  EXPECT_EQ(entries[0].gateway, "gateway:1");
  EXPECT_EQ(entries[0].item.path, "/a/b");
  EXPECT_EQ(entries[0].item.error, EDQUOT);
  EXPECT_GT(entries[0].item.time_ns, 0);
  EXPECT_EQ(entries[0].owners, std::vector<uint32_t>{1000});
  EXPECT_EQ(TextOf(entries[0].directory + "/" + entries[0].item.file), "precious");
}

TEST_F(LostFoundTest, ItemWithAnIdReplacesTheEarlierOne) {
  ASSERT_TRUE(lost_.Keep({.id = "", .what = "content", .inode = 7, .file = ""},
                         temp_.Write("first", "first")));
  LostItem next = ListLost(temp_.path())[0].item;
  const std::string old_file = next.file;
  const auto file = lost_.NewFile(7);
  ASSERT_TRUE(file);
  EXPECT_NE(*file, old_file);
  std::ofstream(lost_.directory() + "/" + *file) << "second";
  next.file = *file;
  std::vector<LostItem> items{next};
  ASSERT_TRUE(lost_.Add(&items));
  const auto entries = ListLost(temp_.path());
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].item.id, next.id);
  EXPECT_EQ(TextOf(lost_.directory() + "/" + entries[0].item.file), "second");
  EXPECT_FALSE(std::filesystem::exists(lost_.directory() + "/" + old_file));
}

TEST_F(LostFoundTest, DiscardRemovesOneItemAndTheDirectoryWithTheLast) {
  ASSERT_TRUE(lost_.Keep({.id = "", .what = "content", .inode = 7, .file = ""},
                         temp_.Write("first", "first")));
  ASSERT_TRUE(lost_.Keep({.id = "", .what = "create", .inode = 8, .file = ""}, ""));
  auto entries = ListLost(temp_.path());
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_NE(entries[0].item.id, entries[1].item.id);
  ASSERT_TRUE(DiscardLost(entries[0]));
  ASSERT_EQ(ListLost(temp_.path()).size(), 1u);
  EXPECT_EQ(ListLost(temp_.path())[0].item.id, entries[1].item.id);
  ASSERT_TRUE(DiscardLost(entries[1]));
  EXPECT_FALSE(std::filesystem::exists(lost_.directory()));
}

TEST_F(LostFoundTest, WhatHasNoManifestIsALeftover) {
  std::filesystem::create_directories(temp_ / "lost+found/strange");
  temp_.Write("lost+found/strange/file", "12345");
  std::filesystem::create_directories(temp_ / "lost+found/broken");
  temp_.Write("lost+found/broken/manifest.json", "{\"items\": [1,");
  const auto entries = ListLost(temp_.path());
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_TRUE(entries[0].leftover && entries[1].leftover);
  ASSERT_TRUE(DiscardLost(entries[0]));
  ASSERT_TRUE(DiscardLost(entries[1]));
  EXPECT_TRUE(ListLost(temp_.path()).empty());
}

TEST_F(LostFoundTest, ManifestsOfOtherShapesAreNoTrouble) {
  std::filesystem::create_directories(temp_ / "lost+found/odd");
  temp_.Write("lost+found/odd/manifest.json",
              R"({"items": [{"path": 7, "errno": "x", "file": "../../etc/passwd"}, 3],
                  "owners": "me", "workspace": []})");
  const auto entries = ListLost(temp_.path());
  ASSERT_EQ(entries.size(), 2u);
  for (const LostEntry& entry : entries) {
    EXPECT_FALSE(entry.item.id.empty());
    EXPECT_TRUE(entry.item.file == "passwd" || entry.item.file.empty());
    EXPECT_TRUE(entry.owners.empty());
  }
}

}  // namespace
}  // namespace airstore::broker
