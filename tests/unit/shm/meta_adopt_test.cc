// SPDX-License-Identifier: Apache-2.0
//
// The tables of a writer that was killed: adopted, they hold each change as a whole or not at all.
//
// The writer is a child process that is stepped, instruction by instruction, into the middle of a
// random change and killed there; a twin that makes the same changes says what is to be found.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <cstdlib>
#include <map>
#include <random>

#include "shm/meta_table.h"
#include "tests/unit/shm/support.h"

namespace airstore::shm {
namespace {

constexpr uint64_t kDirectories = 4;
constexpr uint32_t kFile = 8;
constexpr MetaWriter::Capacity kSmall{512, 1024, 512};

std::unique_ptr<MetaWriter> MakeTables() {
  auto writer = MetaWriter::Create(TestSession(), kSmall);
  EXPECT_TRUE(writer.has_value());
  for (uint64_t directory = 1; directory <= kDirectories; ++directory) {
    InodeRecord record{};
    record.inode = directory;
    record.dir_next_cookie = 1;
    record.flags = kListingComplete;
    EXPECT_TRUE((*writer)->AddInode(record).has_value());
  }
  return std::move(*writer);
}

std::unique_ptr<Segment> MapReadOnly(const MetaWriter& writer) {
  auto fd = const_cast<MetaWriter&>(writer).segment().OpenReadOnly();
  EXPECT_TRUE(fd.has_value());
  auto mapped = Segment::Attach(std::move(*fd), {SegmentKind::kMeta, TestSession(), 0}, false);
  EXPECT_TRUE(mapped.has_value());
  return std::move(*mapped);
}

std::unique_ptr<MetaWriter> AdoptOf(const MetaWriter& writer, MetaWriter::Damage* damage) {
  auto adopted = MetaWriter::Adopt(TestSession(), *MapReadOnly(writer), damage);
  EXPECT_TRUE(adopted.has_value()) << adopted.error().ToString();
  return std::move(*adopted);
}

// One change after the other; the same ones for the same seed, whatever writer makes them.
class Script {
 public:
  Script(MetaWriter* writer, uint64_t seed) : writer_(*writer), random_(seed) {}

  void Step() {
    writer_.SetAppliedLsn(writer_.applied_lsn() + 1);
    const uint64_t parent = 1 + Random(kDirectories);
    const auto number = static_cast<uint32_t>(Random(60));
    const std::string name = std::string(1 + number * 7 % 200, 'n') + std::to_string(number);
    const uint32_t dentry = writer_.FindDentry(parent, name);
    const uint64_t inode = 100 + Random(100);
    const uint32_t index = writer_.IndexOf(inode);
    switch (Random(8)) {
      case 0:
      case 1:
      case 2:
        if (dentry == kNoIndex || writer_.Dentry(dentry).inode == 0) {
          (void)writer_.AddDentry(parent, name, Random(4) == 0 ? 0 : inode, kFile);
        }
        break;
      case 3:
        if (dentry != kNoIndex) writer_.RemoveDentry(dentry);
        break;
      case 4:
        if (dentry != kNoIndex && writer_.Dentry(dentry).inode != 0) {
          writer_.ReplaceDentry(dentry, inode, kFile);
        }
        break;
      case 5:
        if (Random(8) == 0) writer_.DropListing(writer_.IndexOf(parent));
        break;
      case 6:
        if (index != kNoIndex) writer_.RemoveInode(index);
        break;
      default: {
        InodeRecord record{};
        record.inode = inode;
        record.size = Random(1u << 20);
        for (uint64_t& word : record.reserved) word = record.size;
        if (index != kNoIndex) {
          writer_.UpdateInode(index, record);
        } else {
          (void)writer_.AddInode(record);
        }
      }
    }
  }

 private:
  uint64_t Random(uint64_t below) { return random_() % below; }

  MetaWriter& writer_;
  std::mt19937_64 random_;
};

// All that tables say, by index, as text. Found the way readers find it.
using Snapshot = std::map<std::string, std::string>;

std::string Text(const InodeRecord& record) {
  return std::string(reinterpret_cast<const char*>(&record), sizeof(record));
}

Snapshot Describe(const MetaWriter& writer) {
  Snapshot all;
  uint32_t inodes = 0;
  for (uint32_t i = 1; i < kSmall.inodes; ++i) {
    InodeRecord record = writer.Inode(i);
    if (record.inode == 0) continue;
    ++inodes;
    InodeRef found;
    EXPECT_TRUE(writer.reader().FindInode(record.inode, &found));
    EXPECT_EQ(found.index, i);
    uint64_t cookie = 0;
    uint32_t previous = kNoIndex;
    uint32_t entries = 0;
    std::string listing;
    for (uint32_t d = record.dir_first; d != kNoIndex && entries < 10'000; ++entries) {
      const DentryRecord dentry = writer.Dentry(d);
      EXPECT_EQ(dentry.parent, record.inode);
      EXPECT_EQ(dentry.dir_previous, previous);
      EXPECT_GT(dentry.cookie, cookie);
      cookie = dentry.cookie;
      listing += std::to_string(d) + " ";
      previous = d;
      d = dentry.dir_next;
    }
    EXPECT_EQ(record.dir_last, previous);
    EXPECT_EQ(record.dir_entries, entries);
    EXPECT_TRUE(entries == 0 || record.dir_next_cookie > cookie);
    all["inode " + std::to_string(i)] = Text(record) + listing;
  }
  uint32_t dentries = 0;
  for (uint32_t d = 1; d < kSmall.dentries; ++d) {
    const DentryRecord record = writer.Dentry(d);
    if (record.parent == 0) continue;
    ++dentries;
    const std::string name = writer.DentryName(d);
    DentryRef found;
    EXPECT_TRUE(writer.reader().FindDentry(record.parent, name, &found)) << name;
    EXPECT_EQ(found.index, d);
    all["dentry " + std::to_string(d)] =
        std::to_string(record.parent) + "/" + name + " is " + std::to_string(record.inode) +
        " cookie " + std::to_string(record.cookie) + " type " + std::to_string(record.type);
  }
  EXPECT_EQ(inodes, writer.inode_count());
  EXPECT_EQ(dentries, writer.dentry_count());
  return all;
}

std::string FirstDifference(const Snapshot& a, const Snapshot& b) {
  for (const auto& [key, text] : a) {
    const auto found = b.find(key);
    if (found == b.end()) return key + " is missing: " + text;
    if (found->second != text) return key + ": " + text + " became " + found->second;
  }
  for (const auto& [key, text] : b) {
    if (!a.contains(key)) return key + " is new: " + text;
  }
  return "";
}

struct Progress {
  std::atomic<uint32_t> done;  // changes that have returned
};

// A child that makes changes of a script and is killed in the middle of the one behind `free_run`:
// `instructions` after it has begun to write the `writes`th record of it.
class DoomedWriter {
 public:
  DoomedWriter() {
    void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    progress_ = new (page) Progress{};
  }
  ~DoomedWriter() { munmap(progress_, 4096); }

  // False when ptrace is not permitted.
  bool Run(MetaWriter* writer, uint64_t seed, uint32_t free_run, uint32_t writes,
           uint32_t instructions) {
    const MetaState& state = writer->reader().view().state();
    const pid_t pid = fork();
    if (pid == 0) {
      if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) _exit(77);
      Script script(writer, seed);
      for (uint32_t i = 0; i <= free_run; ++i) {
        if (i == free_run) raise(SIGSTOP);
        script.Step();
        progress_->done.fetch_add(1);
      }
      _exit(0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    if (!WIFSTOPPED(status)) return false;
    uint32_t begun = 0;
    bool writing = false;
    while (done() == free_run) {
      const bool now = state.intent.load() != 0;
      if (now && !writing) ++begun;
      writing = now;
      if (begun >= writes && instructions-- == 0) break;
      if (ptrace(PTRACE_SINGLESTEP, pid, nullptr, nullptr) != 0) break;
      waitpid(pid, &status, 0);
      if (!WIFSTOPPED(status)) return true;
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return true;
  }
  uint32_t done() const { return progress_->done.load(); }

 private:
  Progress* progress_;
};

TEST(MetaAdopt, AChangeCutOffByDeathIsThereAsAWholeOrNotAtAll) {
  const uint64_t seed = 20261123;
  std::mt19937_64 random(seed);
  int cut = 0;
  int kept = 0;
  int undone = 0;
  for (int round = 0; round < 100; ++round) {
    const uint64_t script_seed = random();
    const auto free_run = static_cast<uint32_t>(random() % 300);
    const auto writes = static_cast<uint32_t>(random() % 5);
    const auto instructions = static_cast<uint32_t>(random() % 250);
    SCOPED_TRACE("round " + std::to_string(round) + ", " + std::to_string(free_run) + " changes, " +
                 std::to_string(writes) + " records and " + std::to_string(instructions) +
                 " instructions");
    auto writer = MakeTables();
    DoomedWriter doomed;
    if (!doomed.Run(writer.get(), script_seed, free_run, writes, instructions)) {
      GTEST_SKIP() << "ptrace is not permitted here";
    }
    auto twin = MakeTables();
    Script script(twin.get(), script_seed);
    for (uint32_t i = 0; i < doomed.done(); ++i) script.Step();
    const Snapshot before = Describe(*twin);
    script.Step();
    const Snapshot after = Describe(*twin);

    const auto dead = MapReadOnly(*writer);
    const MetaState& state = MetaView::Over(*dead)->state();
    if (state.intent.load() != 0 || state.dropping.load() != 0) ++cut;
    MetaWriter::Damage damage;
    auto adopted = AdoptOf(*writer, &damage);
    EXPECT_EQ(damage.inodes + damage.dentries + damage.directories, 0u);
    const Snapshot found = Describe(*adopted);
    if (before != after && found == before) ++undone;
    if (before != after && found == after) ++kept;
    if (doomed.done() == free_run) {
      EXPECT_TRUE(found == before || found == after)
          << "from before: " << FirstDifference(before, found)
          << "\nfrom after: " << FirstDifference(after, found);
      EXPECT_GE(adopted->applied_lsn(), uint64_t{free_run});
    } else {
      EXPECT_EQ(FirstDifference(before, found), "");
    }
    // And it is a table like any other.
    Script more(adopted.get(), round);
    for (int i = 0; i < 300; ++i) more.Step();
    Describe(*adopted);
    if (HasFailure()) return;
  }
  EXPECT_GT(cut, 5);  // in the very middle of a record
  EXPECT_GT(kept, 5);
  EXPECT_GT(undone, 5);
  RecordProperty("cut", cut);
}

// ---- what no writer of ours leaves

class DamagedTables : public testing::Test {
 protected:
  void SetUp() override {
    writer_ = MakeTables();
    for (int i = 0; i < 4; ++i) {
      dentries_[i] = *writer_->AddDentry(1, "name" + std::to_string(i), 100 + i, kFile);
    }
    (void)writer_->AddDentry(2, "elsewhere", 200, kFile);
  }
  const MetaView& view() const { return writer_->reader().view(); }
  // Changes a record behind the writer's back.
  template <typename Record>
  static void Spoil(Entry<Record>* entry, size_t offset, uint64_t word) {
    entry->words[offset / 8].store(word);
  }
  MetaWriter& Adopt() {
    adopted_ = AdoptOf(*writer_, &damage_);
    Describe(*adopted_);
    return *adopted_;
  }
  bool Complete(uint64_t directory) const {
    return (adopted_->Inode(adopted_->IndexOf(directory)).flags & kListingComplete) != 0;
  }

  std::unique_ptr<MetaWriter> writer_;
  std::unique_ptr<MetaWriter> adopted_;
  MetaWriter::Damage damage_;
  uint32_t dentries_[4] = {};
};

TEST_F(DamagedTables, SoundOnesAreTakenAsTheyAre) {
  const Snapshot before = Describe(*writer_);
  EXPECT_EQ(FirstDifference(before, Describe(Adopt())), "");
  EXPECT_EQ(damage_.inodes + damage_.dentries + damage_.directories, 0u);
  EXPECT_TRUE(Complete(1));
}

TEST_F(DamagedTables, ARecordHalfWrittenByNobodyIsDroppedAndNoListingIsTrusted) {
  view().dentry(dentries_[1]).sequence.fetch_add(1);
  EXPECT_EQ(Adopt().FindDentry(1, "name1"), kNoIndex);
  EXPECT_NE(Adopt().FindDentry(1, "name2"), kNoIndex);
  EXPECT_EQ(damage_.dentries, 1u);
  EXPECT_FALSE(Complete(1));
  EXPECT_FALSE(Complete(2));
}

TEST_F(DamagedTables, ANameThatDoesNotMatchItsHashIsDropped) {
  Spoil(&view().dentry(dentries_[1]), offsetof(DentryRecord, name), 0x6161616161616161);
  EXPECT_EQ(Adopt().Dentry(dentries_[1]).parent, 0u);
  EXPECT_FALSE(Complete(1));
  EXPECT_TRUE(Complete(2));
}

TEST_F(DamagedTables, ANameTooLongIsDropped) {
  Spoil(&view().dentry(dentries_[2]), offsetof(DentryRecord, name_bytes), 70'000);
  EXPECT_EQ(Adopt().FindDentry(1, "name2"), kNoIndex);
  EXPECT_FALSE(Complete(1));
}

TEST_F(DamagedTables, ALongNameOutsideOfTheTableIsDropped) {
  Spoil(&view().dentry(dentries_[2]), offsetof(DentryRecord, name_bytes),
        uint64_t{0xffffffff} << 32 | 5);
  EXPECT_EQ(Adopt().FindDentry(1, "name2"), kNoIndex);
  EXPECT_FALSE(Complete(1));
}

TEST_F(DamagedTables, ANameOfAnUnknownDirectoryIsDropped) {
  Spoil(&view().dentry(dentries_[0]), offsetof(DentryRecord, parent), 77);
  EXPECT_EQ(Adopt().FindDentry(77, "name0"), kNoIndex);
  EXPECT_EQ(damage_.dentries, 1u);
}

TEST_F(DamagedTables, AListingThatRunsInACircleIsStraightened) {
  DentryRecord last = writer_->Dentry(dentries_[3]);
  Spoil(&view().dentry(dentries_[3]), offsetof(DentryRecord, dir_next),
        uint64_t{last.type} << 32 | dentries_[0]);
  EXPECT_EQ(Adopt().Dentry(dentries_[3]).dir_next, kNoIndex);
  EXPECT_TRUE(Complete(1));
}

TEST_F(DamagedTables, OfTwoNamesWithOneCookieOneStays) {
  Spoil(&view().dentry(dentries_[2]), offsetof(DentryRecord, cookie),
        writer_->Dentry(dentries_[1]).cookie);
  MetaWriter& adopted = Adopt();
  EXPECT_EQ(
      (adopted.FindDentry(1, "name1") == kNoIndex) + (adopted.FindDentry(1, "name2") == kNoIndex),
      1);
  EXPECT_FALSE(Complete(1));
}

TEST_F(DamagedTables, OfTwoRecordsOfOneInodeOneStaysAndTheOthersIndexIsNotReused) {
  InodeRecord record{};
  record.inode = 300;
  const uint32_t one = *writer_->AddInode(record);
  record.inode = 301;
  const uint32_t two = *writer_->AddInode(record);
  Spoil(&view().inode(two), offsetof(InodeRecord, inode), 300);
  MetaWriter& adopted = Adopt();
  EXPECT_EQ(adopted.IndexOf(300), one);
  EXPECT_EQ(adopted.Inode(two).inode, 0u);
  EXPECT_EQ(damage_.inodes, 1u);
  record.inode = 302;
  EXPECT_NE(*adopted.AddInode(record), two);
}

TEST_F(DamagedTables, RandomWordsAreSurvived) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 50; ++round) {
    for (int i = 0; i < 20; ++i) {
      view().dentry(static_cast<uint32_t>(random() % 8)).words[random() % 15].store(random());
      view().inode(static_cast<uint32_t>(1 + random() % 6)).words[random() % 31].store(random());
      view()
          .dentry(static_cast<uint32_t>(random() % 8))
          .hash_next.store(static_cast<uint32_t>(random()));
    }
    Adopt();
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_GT(damage_.dentries + damage_.inodes, 0u);
}

TEST_F(DamagedTables, AnotherGeometryIsRefused) {
  auto* geometry = writer_->segment().At<MetaGeometry>(sizeof(SegmentHeader));
  geometry->dentries_offset += 8;
  MetaWriter::Damage damage;
  auto adopted = MetaWriter::Adopt(TestSession(), *MapReadOnly(*writer_), &damage);
  ASSERT_FALSE(adopted.has_value());
  EXPECT_EQ(adopted.error().code, EPROTO);
}

// Whoever began to read in the old segment and ends in the new one must see that it changed.
TEST_F(DamagedTables, WhatDiffersHasALaterSequence) {
  const DentryRecord last = writer_->Dentry(dentries_[3]);
  Spoil(&view().dentry(dentries_[3]), offsetof(DentryRecord, dir_next),
        uint64_t{last.type} << 32 | dentries_[0]);
  MetaWriter& adopted = Adopt();
  for (uint32_t i = 1; i < 8; ++i) {
    const DentryEntry& old = view().dentry(i);
    const DentryEntry& now = adopted.reader().view().dentry(i);
    bool same = true;
    for (size_t word = 0; word < 15; ++word) {
      same = same && old.words[word].load() == now.words[word].load();
    }
    EXPECT_EQ(same, old.sequence.load() == now.sequence.load()) << i;
    EXPECT_GE(now.sequence.load(), old.sequence.load());
    EXPECT_EQ(now.sequence.load() % 2, 0u);
  }
}

}  // namespace
}  // namespace airstore::shm
