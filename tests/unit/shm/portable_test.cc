// SPDX-License-Identifier: Apache-2.0
//
// What goes through the portable form is the same afterwards; what is damaged on the way is
// refused.
#include "shm/portable.h"

#include <sys/mman.h>

#include <random>

#include "shm/counters.h"
#include "shm/meta_table.h"
#include "tests/unit/shm/support.h"

namespace airstore::shm {
namespace {

UniqueFd Memfd() { return UniqueFd(memfd_create("portable-test", MFD_CLOEXEC)); }

UniqueFd OpenForReading(const std::string& path) {
  return UniqueFd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
}

std::unique_ptr<MetaWriter> SomeTables() {
  std::mt19937_64 random(7);
  auto made = MetaWriter::Create(TestSession(), {600, 1200, 500});
  EXPECT_TRUE(made.has_value());
  MetaWriter& tables = **made;
  for (uint64_t inode = 1; inode <= 300; ++inode) {
    InodeRecord record{};
    record.inode = inode;
    record.generation = inode * 3;
    record.mode = static_cast<uint32_t>(random());
    record.nlink = 2;
    record.size = random();
    record.atime_ns = -static_cast<int64_t>(random() % 1000);
    record.known_by = random();
    record.flags = kListingComplete;
    record.write_error = inode % 50 == 0 ? EIO : 0;
    record.content_kind = static_cast<uint32_t>(ContentKind::kFile);
    record.content_file = inode * 5;
    record.content_generation = 9;
    record.dir_next_cookie = 1;
    record.content_version = random();
    EXPECT_TRUE(tables.AddInode(record).has_value());
  }
  for (uint64_t inode = 10; inode <= 300; ++inode) {
    const std::string name = std::to_string(inode) + std::string(random() % 250, 'x');
    EXPECT_TRUE(tables.AddDentry(1 + inode % 5, name, inode, 8).has_value());
    if (inode % 3 == 0) {
      EXPECT_TRUE(tables.AddDentry(7, "no" + name, 0, 0).has_value());
    }
  }
  for (uint64_t inode = 20; inode <= 300; inode += 11) {
    const std::string name =
        tables.DentryName(tables.Inode(tables.IndexOf(1 + inode % 5)).dir_first);
    tables.RemoveDentry(tables.FindDentry(1 + inode % 5, name));
  }
  tables.RemoveInode(tables.IndexOf(299));
  tables.SetAppliedLsn(4711);
  return std::move(*made);
}

std::unique_ptr<MetaWriter> Adopted(const Segment& segment) {
  MetaWriter::Damage damage;
  auto adopted = MetaWriter::Adopt(TestSession(), segment, &damage);
  EXPECT_TRUE(adopted.has_value()) << adopted.error().ToString();
  EXPECT_EQ(damage.inodes + damage.dentries + damage.directories, 0u);
  return std::move(*adopted);
}

UniqueFd Exported(MetaWriter& tables) {
  UniqueFd file = Memfd();
  PortableWriter out(file.get());
  auto meta = tables.segment().OpenReadOnly();
  EXPECT_TRUE(meta.has_value());
  const auto done = ExportTables(std::move(*meta), &out);
  EXPECT_TRUE(done) << done.error().ToString();
  EXPECT_TRUE(out.Finish());
  return file;
}

UniqueFd Exported(TestLane& lane) {
  UniqueFd file = Memfd();
  PortableWriter out(file.get());
  const auto done = ExportLane(OpenForReading(lane.directory.Path("lane")),
                               OpenForReading(lane.directory.Path("arena")), &out);
  EXPECT_TRUE(done) << done.error().ToString();
  EXPECT_TRUE(out.Finish());
  return file;
}

std::unique_ptr<Segment> Tables(const UniqueFd& file) {
  auto imported = ImportTables(file.get(), TestSession());
  EXPECT_TRUE(imported) << imported.error().ToString();
  return std::move(*imported);
}

Result<void> Import(const UniqueFd& file, const TempDir& directory) {
  return ImportLane(file.get(), TestSession(), TestLane::kMount, directory.Path("lane"),
                    directory.Path("arena"));
}

std::unique_ptr<LaneConsumer> AdoptLane(const TempDir& directory) {
  const auto attach = [&](const char* name, SegmentKind kind) {
    UniqueFd file(open(directory.Path(name).c_str(), O_RDWR | O_CLOEXEC));
    auto segment = Segment::Attach(std::move(file), {kind, TestSession(), TestLane::kMount}, true);
    EXPECT_TRUE(segment.has_value()) << segment.error().ToString();
    return std::move(*segment);
  };
  auto adopted =
      LaneConsumer::Adopt(attach("lane", SegmentKind::kLane), attach("arena", SegmentKind::kArena));
  EXPECT_TRUE(adopted.has_value()) << adopted.error().ToString();
  return std::move(*adopted);
}

TEST(Portable, TablesAreTheSame) {
  auto tables = SomeTables();
  auto before = Adopted(tables->segment());
  auto after = Adopted(*Tables(Exported(*tables)));
  EXPECT_EQ(after->inode_count(), before->inode_count());
  EXPECT_EQ(after->dentry_count(), before->dentry_count());
  EXPECT_EQ(after->applied_lsn(), 4711u);
  for (uint32_t i = 1; i < 600; ++i) {
    if (i >= before->inode_end()) break;
    InodeRecord a = before->Inode(i);
    const InodeRecord b = after->Inode(i);
    EXPECT_EQ(memcmp(&a, &b, sizeof(a)), 0) << i;
  }
  for (uint32_t i = 1; i < 1000; ++i) {
    const DentryRecord a = before->Dentry(i);
    const DentryRecord b = after->Dentry(i);
    ASSERT_EQ(a.parent, b.parent) << i;
    EXPECT_EQ(a.inode, b.inode);
    EXPECT_EQ(a.cookie, b.cookie);
    EXPECT_EQ(a.dir_next, b.dir_next);
    EXPECT_EQ(a.dir_previous, b.dir_previous);
    EXPECT_EQ(a.name_hash, b.name_hash);
    if (a.parent != 0) {
      EXPECT_EQ(before->DentryName(i), after->DentryName(i));
    }
  }
}

// The content of slabs does not come along.
TEST(Portable, WhatLiesInSlabsIsFetchedAgain) {
  auto tables = SomeTables();
  const uint32_t index = tables->IndexOf(5);
  InodeRecord record = tables->Inode(index);
  record.content_kind = static_cast<uint32_t>(ContentKind::kSlab);
  record.extent_bytes = 100;
  tables->UpdateInode(index, record);
  const InodeRecord after = Adopted(*Tables(Exported(*tables)))->Inode(index);
  EXPECT_EQ(after.content_kind, static_cast<uint32_t>(ContentKind::kNone));
  EXPECT_EQ(after.content_generation, record.content_generation + 1);
  EXPECT_EQ(after.size, record.size);
}

// A writer that died in the middle of a record: what it meant counts; what it did not note is lost.
TEST(Portable, RecordsInTheMakingAreFinished) {
  auto tables = SomeTables();
  const MetaView& view = tables->reader().view();
  const uint32_t meant = tables->IndexOf(6);
  const uint32_t lost = tables->IndexOf(8);
  InodeRecord wanted = tables->Inode(meant);
  wanted.size = 123456;
  std::array<uint64_t, sizeof(wanted) / 8> words;
  memcpy(words.data(), &wanted, sizeof(wanted));
  for (size_t i = 0; i < words.size(); ++i) view.state().words[i].store(words[i]);
  view.state().index.store(meant);
  view.state().intent.store(static_cast<uint32_t>(MetaIntent::kInode));
  view.inode(meant).sequence.fetch_add(1);
  view.inode(lost).sequence.fetch_add(1);
  MetaWriter::Damage damage;
  auto after = MetaWriter::Adopt(TestSession(), *Tables(Exported(*tables)), &damage);
  ASSERT_TRUE(after.has_value());
  EXPECT_EQ((*after)->Inode((*after)->IndexOf(6)).size, 123456u);
  EXPECT_EQ((*after)->IndexOf(8), kNoIndex);
  EXPECT_EQ(damage.inodes, 1u);
}

TEST(Portable, LanesGoOnWhereTheyWere) {
  TestLane lane;
  const std::vector<uint8_t> bytes(100'000, 7);
  lane.producer->QueueWrite(1, 10, bytes, 5);
  lane.Pop();
  lane.consumer->MarkApplied();
  lane.producer->QueueWrite(2, 20, bytes, 6);
  lane.producer->QueueRelease(3, kOpenPassthrough | kOpenForWrite);
  lane.producer->Use(17)->lookups.store(3);
  lane.producer->Use(17)->cached_generation.store(4);
  lane.producer->Count(kLookupHits, 12);
  const std::vector<uint8_t> opening = {1, 2, 3, 4, 5};
  lane.producer->SaveOpening(opening);
  lane.producer->BeginRequest(99, false);
  lane.producer->NoteEffect(LocalEffect::kLookup, 17);
  TempDir directory;
  const auto imported = Import(Exported(lane), directory);
  ASSERT_TRUE(imported) << imported.error().ToString();

  auto consumer = AdoptLane(directory);
  LaneConsumer::Item item;
  std::string why;
  ASSERT_EQ(consumer->Pop(&item, &why), LaneConsumer::Next::kItem) << why;
  EXPECT_EQ(item.op, QueueOp::kWrite);
  EXPECT_EQ(item.inode, 2u);
  EXPECT_EQ(item.offset, 20u);
  EXPECT_EQ(item.time_ns, 6);
  EXPECT_TRUE(std::equal(item.data.begin(), item.data.end(), bytes.begin(), bytes.end()));
  ASSERT_EQ(consumer->Pop(&item, &why), LaneConsumer::Next::kItem) << why;
  EXPECT_EQ(item.op, QueueOp::kRelease);
  EXPECT_EQ(item.inode, 3u);
  EXPECT_EQ(item.flags, kOpenPassthrough | kOpenForWrite);
  EXPECT_EQ(consumer->Pop(&item, &why), LaneConsumer::Next::kEmpty);
  EXPECT_EQ(consumer->popped(), lane.consumer->popped() + 2);
  EXPECT_EQ(consumer->Lookups(17), 3u);
  EXPECT_EQ(consumer->Counter(kLookupHits), 12u);
  EXPECT_EQ(consumer->RequestsInWork(), std::vector<uint64_t>{99});
  consumer->FrontendGone();
  auto producer = LaneProducer::Attach(std::move(*consumer->lane().Alias()),
                                       std::move(*consumer->arena().Alias()), lane.wake.get());
  ASSERT_TRUE(producer.has_value());
  EXPECT_EQ((*producer)->Opening(), opening);
  const auto left = (*producer)->BeginRequest(99, true);
  EXPECT_EQ(left.effect, LocalEffect::kLookup);
  EXPECT_EQ(left.inode_index, 17u);
  lane.producer->EndRequest();
  (*producer)->EndRequest();
}

// As a broker leaves a call that it has carried out and not answered.
TEST(Portable, CallsAreAskedAgainWithWhatCameOfThem) {
  TestLane lane;
  std::thread caller([&] {
    RequestArgs args{};
    args.op = static_cast<uint32_t>(Op::kMkdir);
    args.inode = 42;
    args.mode = 0755;
    EXPECT_EQ(lane.producer->CallBroker(args, "name", "", {}).value, 9u);
  });
  LaneConsumer::Item item;
  std::string why;
  while (lane.consumer->Pop(&item, &why) != LaneConsumer::Next::kItem) std::this_thread::yield();
  lane.consumer->NoteExecuted(item.call.slot, item.call.position, Executed{77, 5});
  lane.consumer->MarkApplied();
  const UniqueFd file = Exported(lane);
  RequestReply reply{};
  reply.value = 9;
  lane.consumer->Reply(item.call.slot, reply);
  caller.join();

  TempDir directory;
  const auto imported = Import(file, directory);
  ASSERT_TRUE(imported) << imported.error().ToString();
  auto consumer = AdoptLane(directory);
  ASSERT_EQ(consumer->Pop(&item, &why), LaneConsumer::Next::kItem) << why;
  EXPECT_EQ(item.call.args.inode, 42u);
  EXPECT_EQ(item.call.args.mode, 0755u);
  EXPECT_EQ(item.call.name, "name");
  ASSERT_TRUE(item.call.executed.has_value());
  EXPECT_EQ(item.call.executed->inode, 77u);
  EXPECT_EQ(item.call.executed->ticket, 5u);
}

void ExpectDamageIsFound(const UniqueFd& file, const std::function<bool()>& import) {
  const off_t size = lseek(file.get(), 0, SEEK_END);
  std::mt19937_64 random(3);
  for (int round = 0; round < 100; ++round) {
    const auto at = static_cast<off_t>(random() % static_cast<uint64_t>(size));
    char byte = 0;
    ASSERT_EQ(pread(file.get(), &byte, 1, at), 1);
    const char damaged = static_cast<char>(byte ^ (1 << random() % 8));
    ASSERT_EQ(pwrite(file.get(), &damaged, 1, at), 1);
    EXPECT_FALSE(import()) << at;
    ASSERT_EQ(pwrite(file.get(), &byte, 1, at), 1);
  }
  EXPECT_TRUE(import());
  for (off_t cut : {size - 8, size / 2, off_t{16}, off_t{0}}) {
    ASSERT_EQ(ftruncate(file.get(), cut), 0);
    EXPECT_FALSE(import()) << cut;
  }
  ASSERT_EQ(ftruncate(file.get(), off_t{1} << 40), 0);  // of zeros
  EXPECT_FALSE(import());
}

TEST(Portable, DamageIsRefused) {
  const UniqueFd tables = Exported(*SomeTables());
  ExpectDamageIsFound(tables,
                      [&] { return ImportTables(tables.get(), TestSession()).has_value(); });
  TestLane lane;
  const std::vector<uint8_t> bytes(1000, 7);
  lane.producer->QueueWrite(1, 10, bytes, 5);
  lane.producer->Use(17)->lookups.store(3);
  const UniqueFd file = Exported(lane);
  TempDir directory;
  ExpectDamageIsFound(file, [&] { return Import(file, directory).has_value(); });
}

// Of later versions: words and kinds that nobody here knows.
TEST(Portable, WhatIsNotKnownIsPassedOver) {
  UniqueFd file = Memfd();
  PortableWriter out(file.get());
  const std::vector<uint64_t> tables = {100, 100, 100, 7, 0, 99, 99};
  out.Put(PortableKind::kTables, tables);
  std::vector<uint64_t> inode(60, 1);
  out.Put(PortableKind::kInode, inode);
  out.Put(static_cast<PortableKind>(1000), inode, "whatever it says");
  ASSERT_TRUE(out.Finish());
  EXPECT_NE(Adopted(*Tables(file))->IndexOf(1), kNoIndex);
}

}  // namespace
}  // namespace airstore::shm
