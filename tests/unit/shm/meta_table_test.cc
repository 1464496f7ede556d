// SPDX-License-Identifier: Apache-2.0
#include "shm/meta_table.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/unit/shm/support.h"

namespace airstore::shm {
namespace {

constexpr uint32_t kDirectory = 4;
constexpr uint32_t kFile = 8;

std::unique_ptr<MetaWriter> MakeTables(const MetaWriter::Capacity& capacity = {64, 64, 8}) {
  auto writer = MetaWriter::Create(TestSession(), capacity);
  EXPECT_TRUE(writer.has_value()) << writer.error().ToString();
  return std::move(*writer);
}

uint32_t AddInode(MetaWriter& writer, uint64_t inode) {
  InodeRecord record{};
  record.inode = inode;
  record.size = inode * 10;
  auto index = writer.AddInode(record);
  EXPECT_TRUE(index.has_value()) << index.error().ToString();
  return *index;
}

uint32_t AddDentry(MetaWriter& writer, uint64_t parent, const std::string& name, uint64_t inode) {
  auto index = writer.AddDentry(parent, name, inode, kFile);
  EXPECT_TRUE(index.has_value()) << index.error().ToString();
  return *index;
}

// Names in the order of the chain, as a reader walks it; checks links and cookies on the way.
std::vector<std::string> Listing(const MetaWriter& writer, uint64_t directory) {
  std::vector<std::string> names;
  const MetaReader& reader = writer.reader();
  InodeRef parent;
  EXPECT_TRUE(reader.FindInode(directory, &parent));
  uint64_t cookie = 0;
  uint32_t previous = kNoIndex;
  uint32_t index = parent.record.dir_first;
  while (index != kNoIndex) {
    DentryRecord record;
    char name[kMaxName];
    EXPECT_TRUE(reader.ReadDentry(index, &record, name));
    EXPECT_EQ(record.parent, directory);
    EXPECT_GT(record.cookie, cookie);
    EXPECT_EQ(record.dir_previous, previous);
    EXPECT_NE(record.inode, 0u);
    cookie = record.cookie;
    previous = index;
    names.emplace_back(name, record.name_bytes);
    index = record.dir_next;
  }
  EXPECT_EQ(parent.record.dir_last, previous);
  EXPECT_EQ(parent.record.dir_entries, names.size());
  EXPECT_GT(parent.record.dir_next_cookie + 1, cookie);
  return names;
}

TEST(MetaTable, FindsWhatWasAdded) {
  auto writer = MakeTables();
  const uint32_t index = AddInode(*writer, 7);
  InodeRef found;
  ASSERT_TRUE(writer->reader().FindInode(7, &found));
  EXPECT_EQ(found.index, index);
  EXPECT_EQ(found.record.size, 70u);
  EXPECT_FALSE(writer->reader().FindInode(8, &found));
  EXPECT_FALSE(writer->reader().FindInode(0, &found));
  EXPECT_EQ(writer->inode_count(), 1u);
}

TEST(MetaTable, UpdateIsSeenAndRemovalToo) {
  auto writer = MakeTables();
  const uint32_t index = AddInode(*writer, 7);
  InodeRecord record = writer->Inode(index);
  record.size = 5;
  writer->UpdateInode(index, record);
  InodeRecord read;
  ASSERT_TRUE(writer->reader().ReadInode(index, 7, &read));
  EXPECT_EQ(read.size, 5u);
  writer->RemoveInode(index);
  EXPECT_FALSE(writer->reader().ReadInode(index, 7, &read));
  EXPECT_EQ(writer->IndexOf(7), kNoIndex);
  EXPECT_EQ(writer->inode_count(), 0u);
}

TEST(MetaTable, ReaderRefusesIndexesOutOfRange) {
  auto writer = MakeTables();
  InodeRecord inode;
  DentryRecord dentry;
  char name[kMaxName];
  EXPECT_FALSE(writer->reader().ReadInode(kNoIndex, 1, &inode));
  EXPECT_FALSE(writer->reader().ReadInode(64, 1, &inode));
  EXPECT_FALSE(writer->reader().ReadDentry(kNoIndex, &dentry, name));
  EXPECT_FALSE(writer->reader().ReadDentry(64, &dentry, name));
  EXPECT_FALSE(writer->reader().ReadDentry(~0u, &dentry, name));
}

TEST(MetaTable, ReaderEndsInACircularChain) {
  auto writer = MakeTables();
  const uint32_t index = AddInode(*writer, 7);
  const MetaView& view = writer->reader().view();
  InodeRecord other{};
  other.inode = 99;
  writer->UpdateInode(index, other);
  view.inode(index).hash_next.store(index);
  InodeRef found;
  EXPECT_FALSE(writer->reader().FindInode(7, &found));
}

TEST(MetaTable, FullInodeTableSaysNoSpaceAndReusesEntries) {
  auto writer = MakeTables();
  for (uint64_t inode = 1; inode < 64; ++inode) AddInode(*writer, inode);
  InodeRecord record{};
  record.inode = 1000;
  auto refused = writer->AddInode(record);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ENOSPC);
  writer->RemoveInode(writer->IndexOf(17));
  EXPECT_TRUE(writer->AddInode(record).has_value());
}

TEST(MetaTable, RoomIsWhatCanStillBeMade) {
  auto writer = MakeTables({4, 4, 2});
  AddInode(*writer, 2);
  const uint32_t third = AddInode(*writer, 3);
  AddDentry(*writer, 2, "a", 3);
  const uint32_t dentry = AddDentry(*writer, 2, std::string(kMaxName, 'n'), 0);
  EXPECT_EQ(writer->room().inodes, 1u);
  EXPECT_EQ(writer->room().dentries, 1u);
  EXPECT_EQ(writer->room().long_names, 0u);
  writer->RemoveInode(third);
  writer->RemoveDentry(dentry);
  EXPECT_EQ(writer->room().inodes, 2u);
  EXPECT_EQ(writer->room().dentries, 2u);
  EXPECT_EQ(writer->room().long_names, 1u);
}

TEST(MetaTable, FullDentryTableSaysNoSpace) {
  auto writer = MakeTables({8, 8, 8});
  AddInode(*writer, kRootInode);
  for (int i = 1; i < 8; ++i) AddDentry(*writer, kRootInode, std::to_string(i), 100);
  auto refused = writer->AddDentry(kRootInode, "more", 100, kFile);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ENOSPC);
  EXPECT_EQ(Listing(*writer, kRootInode).size(), 7u);
}

TEST(MetaTable, FullLongNamesSayNoSpaceAndAreGivenBack) {
  auto writer = MakeTables({8, 64, 2});
  AddInode(*writer, kRootInode);
  const std::string first(200, 'a');
  const std::string second(200, 'b');
  const uint32_t index = AddDentry(*writer, kRootInode, first, 100);
  auto refused = writer->AddDentry(kRootInode, second, 100, kFile);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ENOSPC);
  writer->RemoveDentry(index);
  AddDentry(*writer, kRootInode, second, 100);
  DentryRef found;
  EXPECT_TRUE(writer->reader().FindDentry(kRootInode, second, &found));
  EXPECT_FALSE(writer->reader().FindDentry(kRootInode, first, &found));
}

TEST(MetaTable, NamesOfEveryLengthAreKept) {
  auto writer = MakeTables({8, 512, 256});
  AddInode(*writer, kRootInode);
  for (size_t length = 1; length <= kMaxName; ++length) {
    AddDentry(*writer, kRootInode, std::string(length, static_cast<char>('a' + length % 26)),
              length + 1000);
  }
  for (size_t length = 1; length <= kMaxName; ++length) {
    const std::string name(length, static_cast<char>('a' + length % 26));
    DentryRef found;
    ASSERT_TRUE(writer->reader().FindDentry(kRootInode, name, &found)) << length;
    EXPECT_EQ(found.record.inode, length + 1000);
    EXPECT_EQ(writer->DentryName(found.index), name);
    DentryRecord record;
    char buffer[kMaxName];
    ASSERT_TRUE(writer->reader().ReadDentry(found.index, &record, buffer));
    EXPECT_EQ(std::string(buffer, record.name_bytes), name);
  }
}

TEST(MetaTable, BadNamesAreRefused) {
  auto writer = MakeTables();
  AddInode(*writer, kRootInode);
  EXPECT_EQ(writer->AddDentry(kRootInode, "", 5, kFile).error().code, EINVAL);
  EXPECT_EQ(writer->AddDentry(kRootInode, std::string(256, 'x'), 5, kFile).error().code,
            ENAMETOOLONG);
  EXPECT_EQ(writer->AddDentry(99, "orphan", 5, kFile).error().code, ENOENT);
  AddDentry(*writer, kRootInode, "twice", 5);
  EXPECT_EQ(writer->AddDentry(kRootInode, "twice", 6, kFile).error().code, EEXIST);
}

TEST(MetaTable, ChainIsInOrderOfAdding) {
  auto writer = MakeTables();
  AddInode(*writer, kRootInode);
  AddDentry(*writer, kRootInode, "c", 10);
  const uint32_t middle = AddDentry(*writer, kRootInode, "a", 11);
  AddDentry(*writer, kRootInode, "b", 12);
  EXPECT_EQ(Listing(*writer, kRootInode), (std::vector<std::string>{"c", "a", "b"}));
  writer->RemoveDentry(middle);
  EXPECT_EQ(Listing(*writer, kRootInode), (std::vector<std::string>{"c", "b"}));
  AddDentry(*writer, kRootInode, "a", 13);
  EXPECT_EQ(Listing(*writer, kRootInode), (std::vector<std::string>{"c", "b", "a"}));
}

TEST(MetaTable, CookiesAscendAlsoWhenEntriesAreReused) {
  auto writer = MakeTables({8, 8, 2});
  AddInode(*writer, kRootInode);
  for (int round = 0; round < 100; ++round) {
    const uint32_t index = AddDentry(*writer, kRootInode, "n" + std::to_string(round), 10);
    Listing(*writer, kRootInode);
    if (round % 3 != 0) {
      writer->RemoveDentry(index);
    } else if (round % 9 == 0) {
      writer->DropListing(writer->IndexOf(kRootInode));
    }
  }
}

TEST(MetaTable, CookiesStartWhereTheDirectorySays) {
  auto writer = MakeTables();
  InodeRecord root{};
  root.inode = kRootInode;
  root.dir_next_cookie = 1000;
  ASSERT_TRUE(writer->AddInode(root).has_value());
  EXPECT_EQ(writer->Dentry(AddDentry(*writer, kRootInode, "a", 10)).cookie, 1000u);
  EXPECT_EQ(writer->Inode(writer->IndexOf(kRootInode)).dir_next_cookie, 1001u);
}

TEST(MetaTable, NegativeEntriesAreFoundButNotListed) {
  auto writer = MakeTables();
  AddInode(*writer, kRootInode);
  const uint32_t negative = AddDentry(*writer, kRootInode, "no", 0);
  EXPECT_EQ(AddDentry(*writer, kRootInode, "no", 0), negative);
  DentryRef found;
  ASSERT_TRUE(writer->reader().FindDentry(kRootInode, "no", &found));
  EXPECT_EQ(found.record.inode, 0u);
  EXPECT_EQ(found.record.cookie, 0u);
  EXPECT_TRUE(Listing(*writer, kRootInode).empty());
}

TEST(MetaTable, PositiveEntryReplacesANegativeOne) {
  auto writer = MakeTables();
  AddInode(*writer, kRootInode);
  const std::string name(100, 'n');
  const uint32_t negative = AddDentry(*writer, kRootInode, name, 0);
  EXPECT_EQ(AddDentry(*writer, kRootInode, name, 12), negative);
  EXPECT_EQ(Listing(*writer, kRootInode), std::vector<std::string>{name});
  EXPECT_EQ(writer->dentry_count(), 1u);
  writer->RemoveDentry(negative);
  EXPECT_EQ(writer->dentry_count(), 0u);
  EXPECT_EQ(writer->FindDentry(kRootInode, name), kNoIndex);
}

TEST(MetaTable, ReplaceKeepsPlaceAndCookie) {
  auto writer = MakeTables();
  AddInode(*writer, kRootInode);
  const uint32_t index = AddDentry(*writer, kRootInode, "a", 10);
  AddDentry(*writer, kRootInode, "b", 11);
  const uint64_t cookie = writer->Dentry(index).cookie;
  writer->ReplaceDentry(index, 99, kDirectory);
  EXPECT_EQ(writer->Dentry(index).inode, 99u);
  EXPECT_EQ(writer->Dentry(index).type, kDirectory);
  EXPECT_EQ(writer->Dentry(index).cookie, cookie);
  EXPECT_EQ(Listing(*writer, kRootInode), (std::vector<std::string>{"a", "b"}));
}

TEST(MetaTable, DropListingKeepsNegativeEntriesAndTheNextCookie) {
  auto writer = MakeTables();
  const uint32_t root = AddInode(*writer, kRootInode);
  InodeRecord record = writer->Inode(root);
  record.flags = kListingComplete | kOrphan;
  writer->UpdateInode(root, record);
  AddDentry(*writer, kRootInode, "a", 10);
  AddDentry(*writer, kRootInode, "b", 11);
  AddDentry(*writer, kRootInode, "no", 0);
  writer->DropListing(root);
  EXPECT_TRUE(Listing(*writer, kRootInode).empty());
  EXPECT_EQ(writer->Inode(root).flags, static_cast<uint32_t>(kOrphan));
  EXPECT_EQ(writer->Inode(root).dir_next_cookie, 3u);
  EXPECT_EQ(writer->FindDentry(kRootInode, "a"), kNoIndex);
  EXPECT_NE(writer->FindDentry(kRootInode, "no"), kNoIndex);
  EXPECT_EQ(writer->dentry_count(), 1u);
}

TEST(MetaTable, GeometryBeyondTheSegmentIsRefused) {
  auto writer = MakeTables();
  auto* geometry = writer->segment().At<MetaGeometry>(sizeof(SegmentHeader));
  const MetaGeometry good = *geometry;
  const auto refused = [&] {
    const bool has_value = MetaView::Over(writer->segment()).has_value();
    *geometry = good;
    return !has_value;
  };
  EXPECT_FALSE(refused());
  geometry->inode_capacity = ~0u;
  EXPECT_TRUE(refused());
  geometry->dentries_offset = ~0ull - 7;
  EXPECT_TRUE(refused());
  geometry->inode_buckets = 3;
  EXPECT_TRUE(refused());
  geometry->dentry_buckets = 0;
  EXPECT_TRUE(refused());
  geometry->long_names_offset += 4;
  EXPECT_TRUE(refused());
  geometry->inodes_offset = 0;
  EXPECT_TRUE(refused());
}

TEST(MetaTable, LargeTablesCostNoMemoryUntilUsed) {
  auto writer = MakeTables(MetaWriter::Capacity{});
  struct stat st;
  ASSERT_EQ(fstat(writer->segment().fd(), &st), 0);
  EXPECT_GT(st.st_size, 500l << 20);
  EXPECT_LT(st.st_blocks * 512, 1l << 20);
}

}  // namespace
}  // namespace airstore::shm
