// SPDX-License-Identifier: Apache-2.0
//
// Random changes of the metadata tables against std::map, with readers of another mapping at work.
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "shm/meta_table.h"
#include "tests/unit/shm/support.h"

namespace airstore::shm {
namespace {

constexpr uint32_t kFile = 8;
constexpr uint64_t kDirectories = 8;
constexpr uint32_t kNames = 200;

// Few distinct names, of all kinds of lengths, so that chains collide and entries are reused.
std::string NameOf(uint32_t i) { return std::string(1 + (i * 7) % 250, 'n') + std::to_string(i); }

// What an inode record says about itself, for readers to check.
InodeRecord RecordOf(uint64_t inode, uint64_t version) {
  InodeRecord record{};
  record.inode = inode;
  record.generation = version;
  record.size = inode * 31 + version;
  record.reserved[9] = record.size;
  return record;
}

class Model {
 public:
  explicit Model(MetaWriter* writer) : writer_(writer) {
    for (uint64_t directory = 1; directory <= kDirectories; ++directory) {
      EXPECT_TRUE(writer->AddInode(RecordOf(directory, 0)).has_value());
    }
  }

  void Step() {
    switch (Random(6)) {
      case 0:
      case 1:
        return Add(Random(4) == 0 ? 0 : 1000 + Random(500));
      case 2:
        return Remove();
      case 3:
        return Replace();
      case 4:
        return ChangeInode();
      default:
        if (Random(100) == 0) DropListing();
    }
  }

  void Check() const {
    const MetaReader& reader = writer_->reader();
    EXPECT_EQ(writer_->dentry_count(), dentries_.size());
    EXPECT_EQ(writer_->inode_count(), inodes_.size() + kDirectories);
    for (const auto& [key, inode] : dentries_) {
      DentryRef found;
      ASSERT_TRUE(reader.FindDentry(key.first, key.second, &found));
      EXPECT_EQ(found.record.inode, inode);
      EXPECT_EQ(writer_->FindDentry(key.first, key.second), found.index);
    }
    for (const auto& [inode, version] : inodes_) {
      InodeRef found;
      ASSERT_TRUE(reader.FindInode(inode, &found));
      EXPECT_EQ(found.record.generation, version);
    }
    for (uint64_t directory = 1; directory <= kDirectories; ++directory) CheckListing(directory);
  }

 private:
  using Key = std::pair<uint64_t, std::string>;

  uint64_t Random(uint64_t below) { return random_() % below; }
  Key RandomKey() {
    return {1 + Random(kDirectories), NameOf(static_cast<uint32_t>(Random(kNames)))};
  }

  void Add(uint64_t inode) {
    const Key key = RandomKey();
    const auto there = dentries_.find(key);
    if (there != dentries_.end() && there->second != 0) return;
    ASSERT_TRUE(writer_->AddDentry(key.first, key.second, inode, kFile).has_value());
    dentries_[key] = inode;
  }

  void Remove() {
    const Key key = RandomKey();
    const uint32_t index = writer_->FindDentry(key.first, key.second);
    ASSERT_EQ(index != kNoIndex, dentries_.count(key) == 1);
    if (index == kNoIndex) return;
    writer_->RemoveDentry(index);
    dentries_.erase(key);
  }

  void Replace() {
    const Key key = RandomKey();
    const auto there = dentries_.find(key);
    if (there == dentries_.end() || there->second == 0) return;
    there->second = 2000 + Random(100);
    writer_->ReplaceDentry(writer_->FindDentry(key.first, key.second), there->second, kFile);
  }

  void ChangeInode() {
    const uint64_t inode = 100 + Random(300);
    const uint32_t index = writer_->IndexOf(inode);
    ASSERT_EQ(index != kNoIndex, inodes_.count(inode) == 1);
    if (index == kNoIndex) {
      ASSERT_TRUE(writer_->AddInode(RecordOf(inode, 0)).has_value());
      inodes_[inode] = 0;
    } else if (Random(2) == 0) {
      writer_->RemoveInode(index);
      inodes_.erase(inode);
    } else {
      writer_->UpdateInode(index, RecordOf(inode, ++inodes_[inode]));
    }
  }

  void DropListing() {
    const uint64_t directory = 1 + Random(kDirectories);
    writer_->DropListing(writer_->IndexOf(directory));
    std::erase_if(dentries_, [directory](const auto& dentry) {
      return dentry.first.first == directory && dentry.second != 0;
    });
  }

  void CheckListing(uint64_t directory) const {
    const InodeRecord parent = writer_->Inode(writer_->IndexOf(directory));
    std::map<std::string, uint64_t> listed;
    uint64_t cookie = 0;
    for (uint32_t index = parent.dir_first; index != kNoIndex;) {
      const DentryRecord record = writer_->Dentry(index);
      EXPECT_GT(record.cookie, cookie);
      cookie = record.cookie;
      EXPECT_TRUE(listed.emplace(writer_->DentryName(index), record.inode).second);
      index = record.dir_next;
    }
    EXPECT_EQ(listed.size(), parent.dir_entries);
    std::map<std::string, uint64_t> expected;
    for (const auto& [key, inode] : dentries_) {
      if (key.first == directory && inode != 0) expected.emplace(key.second, inode);
    }
    EXPECT_EQ(listed, expected);
  }

  MetaWriter* writer_;
  std::mt19937_64 random_{12345};
  std::map<Key, uint64_t> dentries_;
  std::map<uint64_t, uint64_t> inodes_;
};

std::unique_ptr<MetaWriter> MakeTables() {
  auto writer = MetaWriter::Create(TestSession(), {512, 4096, 4096});
  EXPECT_TRUE(writer.has_value());
  return std::move(*writer);
}

TEST(MetaModel, RandomChangesAgreeWithAMap) {
  auto writer = MakeTables();
  Model model(writer.get());
  for (int round = 0; round < 40; ++round) {
    for (int i = 0; i < 1000; ++i) model.Step();
    model.Check();
    if (testing::Test::HasFailure()) return;
  }
}

// A reader may miss what is there; what it does find is whole and is what it asked for.
void ReadRandomly(const MetaReader& reader, uint64_t seed, const std::atomic<bool>& stop,
                  std::atomic<uint64_t>* found_count) {
  std::mt19937_64 random(seed);
  while (!stop.load(std::memory_order_relaxed)) {
    const uint64_t directory = 1 + random() % kDirectories;
    const std::string name = NameOf(static_cast<uint32_t>(random() % kNames));
    DentryRef dentry;
    if (reader.FindDentry(directory, name, &dentry)) {
      ASSERT_EQ(dentry.record.parent, directory);
      ASSERT_EQ(dentry.record.name_bytes, name.size());
      ASSERT_TRUE(dentry.record.inode == 0 || dentry.record.inode >= 1000);
      found_count->fetch_add(1, std::memory_order_relaxed);
    }
    const uint64_t inode = 100 + random() % 300;
    InodeRef ref;
    if (reader.FindInode(inode, &ref)) {
      ASSERT_EQ(ref.record.inode, inode);
      ASSERT_EQ(ref.record.size, inode * 31 + ref.record.generation);
      ASSERT_EQ(ref.record.reserved[9], ref.record.size);
      found_count->fetch_add(1, std::memory_order_relaxed);
    }
    // Any index at any time: names must be whole, however often the entry was reused meanwhile.
    DentryRecord record;
    char buffer[kMaxName];
    if (reader.ReadDentry(static_cast<uint32_t>(random() % 2048), &record, buffer)) {
      const std::string_view text(buffer, record.name_bytes);
      const size_t digits = text.find_first_not_of('n');
      ASSERT_NE(digits, std::string_view::npos);
      ASSERT_EQ(NameOf(static_cast<uint32_t>(std::stoul(std::string(text.substr(digits))))), text);
    }
  }
}

TEST(MetaModel, ConcurrentReadersFindWholeEntriesOrNone) {
  auto writer = MakeTables();
  Model model(writer.get());
  auto read_only = writer->segment().OpenReadOnly();
  ASSERT_TRUE(read_only.has_value());
  auto mapped =
      Segment::Attach(std::move(*read_only), {SegmentKind::kMeta, TestSession(), 0}, false);
  ASSERT_TRUE(mapped.has_value());
  auto view = MetaView::Over(**mapped);
  ASSERT_TRUE(view.has_value());
  const MetaReader reader(*view);
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> found{0};
  std::thread first([&] { ReadRandomly(reader, 1, stop, &found); });
  std::thread second([&] { ReadRandomly(reader, 2, stop, &found); });
  for (int i = 0; i < 150'000; ++i) model.Step();
  stop.store(true);
  first.join();
  second.join();
  model.Check();
  EXPECT_GT(found.load(), 100u);
}

}  // namespace
}  // namespace airstore::shm
