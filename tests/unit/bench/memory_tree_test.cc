// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/memory_tree.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace airstore::bench {
namespace {

std::string ReadBack(const FileData& data, uint64_t offset, uint64_t size) {
  std::vector<iovec> parts;
  data.Read(offset, size, &parts);
  std::string text;
  for (const iovec& part : parts) text.append(static_cast<char*>(part.iov_base), part.iov_len);
  return text;
}

class MemoryTreeTest : public testing::Test {
 protected:
  void SetUp() override {
    auto arena = DataArena::Create(64 << 20);
    ASSERT_TRUE(arena) << arena.error().ToString();
    arena_ = std::move(*arena);
  }
  std::unique_ptr<DataArena> arena_;
};

TEST_F(MemoryTreeTest, FileDataMatchesAModelUnderRandomWritesAndTruncates) {
  FileData data(arena_.get());
  std::string model;
  std::mt19937 random(1);
  for (int i = 0; i < 2000; ++i) {
    const uint64_t offset = random() % (3 << 20);
    if (i % 10 == 9) {
      data.Truncate(offset);
      model.resize(offset);
    } else {
      const std::string piece(random() % 20'000 + 1, static_cast<char>('a' + i % 26));
      ASSERT_EQ(data.Write(offset, piece.data(), piece.size()), 0);
      if (model.size() < offset + piece.size()) model.resize(offset + piece.size());
      model.replace(offset, piece.size(), piece);
    }
    ASSERT_EQ(data.size(), model.size());
    const uint64_t from = random() % (3 << 20);
    const std::string expected = from < model.size() ? model.substr(from, 100'000) : "";
    ASSERT_TRUE(ReadBack(data, from, 100'000) == expected) << "step " << i;
  }
  EXPECT_TRUE(ReadBack(data, 0, model.size()) == model);
}

TEST_F(MemoryTreeTest, FileDataReportsAFullArena) {
  FileData data(arena_.get());
  EXPECT_EQ(data.Write(0, "x", 1), 0);
  const std::string large(65 << 20, 'x');
  EXPECT_EQ(data.Write(0, large.data(), large.size()), ENOSPC);
}

TEST_F(MemoryTreeTest, AnAlignedMegabyteIsOnePiece) {
  FileData data(arena_.get());
  const std::string content(4 << 20, 'x');
  ASSERT_EQ(data.Write(0, content.data(), content.size()), 0);
  std::vector<iovec> parts;
  data.Read(2 << 20, 1 << 20, &parts);
  EXPECT_EQ(parts.size(), 1U);
}

TEST_F(MemoryTreeTest, AnUnlinkedNodeLivesUntilItIsForgotten) {
  MemoryTree tree(arena_.get());
  struct stat attributes;
  auto node = tree.Create(tree.root(), "f", {.mode = S_IFREG | 0644, .symlink = {}}, &attributes);
  ASSERT_TRUE(node);
  ASSERT_EQ(tree.Remove(tree.root(), "f", false), 0);
  EXPECT_EQ(tree.Attributes(*node).st_nlink, 0U);
  tree.Forget(*node, 1);
  EXPECT_EQ(tree.Lookup(tree.root(), "f", &attributes).error().code, ENOENT);
}

TEST_F(MemoryTreeTest, AnswersTheErrnoOfALocalFileSystem) {
  MemoryTree tree(arena_.get());
  struct stat attributes;
  auto dir = tree.Create(tree.root(), "d", {.mode = S_IFDIR | 0755, .symlink = {}}, &attributes);
  ASSERT_TRUE(dir);
  ASSERT_TRUE(tree.Create(*dir, "f", {.mode = S_IFREG | 0644, .symlink = {}}, &attributes));
  EXPECT_EQ(tree.Create(*dir, "f", {.mode = S_IFREG, .symlink = {}}, &attributes).error().code,
            EEXIST);
  EXPECT_EQ(tree.Remove(tree.root(), "d", true), ENOTEMPTY);
  EXPECT_EQ(tree.Remove(tree.root(), "d", false), EISDIR);
  EXPECT_EQ(tree.Remove(*dir, "f", true), ENOTDIR);
  EXPECT_EQ(tree.Remove(*dir, "x", false), ENOENT);
  EXPECT_EQ(tree.Rename(tree.root(), "d", *dir, "sub", true), EINVAL);
  EXPECT_EQ(tree.Attributes(*dir).st_nlink, 2U);
  EXPECT_EQ(tree.Attributes(tree.root()).st_nlink, 3U);
}

}  // namespace
}  // namespace airstore::bench
