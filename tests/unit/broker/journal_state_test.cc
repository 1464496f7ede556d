// SPDX-License-Identifier: Apache-2.0
#include "broker/journal_state.h"

#include <gtest/gtest.h>

#include <random>

#include "broker/session_journal.h"
#include "tests/unit/broker/temp_dir.h"

namespace airstore::broker {
namespace {

constexpr char kMemory[] = "/dev/shm";  // thousands of files

MutationRecord Record(Ticket ticket, Mutation mutation) {
  MutationRecord record;
  record.ticket = ticket;
  record.call = {.mount = 3, .position = 77};
  record.orphan = 5;
  record.subjects = {11, 12};
  record.parents = {1};
  record.mutation = std::move(mutation);
  return record;
}

MutationRecord Creation(Ticket ticket, uint64_t inode) {
  MutationRecord record;
  record.ticket = ticket;
  record.subjects = {inode};
  record.parents = {1};
  record.mutation.time_ns = 1000 + static_cast<int64_t>(ticket);
  record.mutation.op = CreateOp{.parent = 1,
                                .name = "n" + std::to_string(inode),
                                .inode = inode,
                                .mode = 0100644,
                                .uid = 1,
                                .gid = 2,
                                .rdev = 0,
                                .symlink_target = ""};
  return record;
}

AttachedRecord Attached(uint64_t inode, uint64_t file, uint64_t id, bool written = false) {
  AttachedRecord record;
  record.inode = inode;
  record.file = file;
  record.id = id;
  record.complete = true;
  record.never_sent = record.dirty = written;
  return record;
}

template <typename T>
T RoundTrip(const T& record) {
  std::string encoded;
  Encode(record, &encoded);
  auto decoded = Decode(static_cast<uint16_t>(T::kType),
                        {reinterpret_cast<const uint8_t*>(encoded.data()), encoded.size()});
  EXPECT_TRUE(decoded);
  // No part of it is a whole.
  for (size_t length = 0; length < encoded.size(); ++length) {
    EXPECT_FALSE(Decode(static_cast<uint16_t>(T::kType),
                        {reinterpret_cast<const uint8_t*>(encoded.data()), length}));
  }
  return decoded ? std::get<T>(*decoded) : T{};
}

TEST(JournalRecords, MutationsComeBackAsTheyWere) {
  Mutation mutation;
  mutation.time_ns = -5;
  mutation.if_inode = 9;
  mutation.if_content_version = ~0ull;
  mutation.op = SetattrOp{.inode = 11,
                          .mode = 0,
                          .uid = {},
                          .gid = 4,
                          .size = 1ull << 63,
                          .atime_ns = INT64_MIN,
                          .mtime_ns = {},
                          .ctime_ns = INT64_MAX};
  const MutationRecord found = RoundTrip(Record(1ull << 40, mutation));
  EXPECT_EQ(found.ticket, 1ull << 40);
  EXPECT_EQ(found.call.mount, 3u);
  EXPECT_EQ(found.call.position, 77u);
  EXPECT_EQ(found.orphan, 5u);
  EXPECT_EQ(found.subjects, (std::vector<uint64_t>{11, 12}));
  EXPECT_EQ(found.parents, std::vector<uint64_t>{1});
  EXPECT_EQ(found.mutation.time_ns, -5);
  EXPECT_EQ(found.mutation.if_inode, 9u);
  EXPECT_EQ(found.mutation.if_content_version, ~0ull);
  const auto& op = std::get<SetattrOp>(found.mutation.op);
  EXPECT_EQ(op.mode, 0u);
  EXPECT_FALSE(op.uid);
  EXPECT_EQ(op.gid, 4u);
  EXPECT_EQ(op.size, 1ull << 63);
  EXPECT_EQ(op.atime_ns, INT64_MIN);
  EXPECT_FALSE(op.mtime_ns);
  EXPECT_EQ(op.ctime_ns, INT64_MAX);

  const std::string name("a\0\xff/", 4);
  mutation.op =
      RenameOp{.old_parent = 1, .old_name = name, .new_parent = 2, .new_name = "b", .flags = 1};
  const auto renamed = RoundTrip(Record(1, mutation));
  EXPECT_EQ(std::get<RenameOp>(renamed.mutation.op).old_name, name);
  EXPECT_EQ(std::get<RenameOp>(renamed.mutation.op).flags, 1u);
  mutation.op = UnlinkOp{.parent = 1, .name = "x", .directory = true, .inode = 4};
  EXPECT_TRUE(std::get<UnlinkOp>(RoundTrip(Record(1, mutation)).mutation.op).directory);
  mutation.op = LinkOp{.inode = 8, .parent = 1, .name = "y"};
  EXPECT_EQ(std::get<LinkOp>(RoundTrip(Record(1, mutation)).mutation.op).inode, 8u);
  mutation.op = TouchOp{6};
  EXPECT_EQ(std::get<TouchOp>(RoundTrip(Record(1, mutation)).mutation.op).inode, 6u);
  const auto created = RoundTrip(Creation(4, 20));
  EXPECT_EQ(std::get<CreateOp>(created.mutation.op).name, "n20");
  EXPECT_EQ(std::get<CreateOp>(created.mutation.op).gid, 2u);
}

TEST(JournalRecords, OthersComeBackAsTheyWere) {
  const auto batch =
      RoundTrip(BatchRecord{.first_sequence = 5, .entries = {{1, 0}, {2, 700}, {3, 0}}});
  EXPECT_EQ(batch.first_sequence, 5u);
  EXPECT_EQ(batch.entries, (std::vector<BatchRecord::Entry>{{1, 0}, {2, 700}, {3, 0}}));
  const AttachedRecord attached = RoundTrip(AttachedRecord{.inode = 1,
                                                           .file = 2,
                                                           .id = 3,
                                                           .complete = true,
                                                           .never_sent = false,
                                                           .dirty = true,
                                                           .orphan = true,
                                                           .cut = {.mount = 1, .position = 9}});
  EXPECT_EQ(attached.file, 2u);
  EXPECT_TRUE(attached.complete && attached.dirty && attached.orphan && !attached.never_sent);
  EXPECT_EQ(attached.cut.position, 9u);
  EXPECT_EQ(RoundTrip(SettledRecord{.ticket = 1, .sequence = 2}).sequence, 2u);
  EXPECT_EQ(RoundTrip(ElidedRecord{.inode = 1, .dropped = {4, 5}}).dropped.size(), 2u);
  EXPECT_EQ(RoundTrip(InodesRecord{.first = 1, .count = 2}).count, 2u);
  const Xattrs xattrs{{"user.a", std::string("\0b", 2)}, {"user.empty", ""}};
  EXPECT_EQ(RoundTrip(XattrsRecord{7, xattrs}).xattrs, xattrs);
  EXPECT_EQ(RoundTrip(VersionRecord{7, 1ull << 40}).version, 1ull << 40);
  EXPECT_EQ(RoundTrip(CountersRecord{.next_ticket = 3, .next_sequence = 4}).next_sequence, 4u);
}

JournalState StateOf(std::initializer_list<AnyRecord> records) {
  JournalState state;
  for (const AnyRecord& record : records) EXPECT_TRUE(state.Apply(record));
  return state;
}

TEST(JournalState, SettledMutationsArePendingNoMore) {
  JournalState state =
      StateOf({Creation(1, 20), Creation(2, 21), Creation(4, 22),
               BatchRecord{.first_sequence = 1, .entries = {{1, 0}, {2, 0}, {3, 21}}}});
  EXPECT_EQ(state.pending.size(), 3u);
  EXPECT_EQ(state.numbered.size(), 3u);
  EXPECT_EQ(state.next_sequence, 4u);
  ASSERT_TRUE(state.Apply(SettledRecord{.ticket = 3, .sequence = 3}));
  EXPECT_EQ(state.pending.size(), 1u);
  EXPECT_TRUE(state.pending.contains(4));
  EXPECT_TRUE(state.numbered.empty());
  EXPECT_EQ(state.next_ticket, 5u);
  EXPECT_FALSE(state.empty());
}

TEST(JournalState, ElidedFilesLeaveNothing) {
  JournalState state = StateOf(
      {Creation(1, 20), Attached(20, 1, 1, true), ElidedRecord{.inode = 20, .dropped = {1}}});
  EXPECT_TRUE(state.empty());
  EXPECT_TRUE(state.contents.Find(20)->orphan);
}

TEST(JournalState, AFileIsOfOneInodeOnly) {
  JournalState state = StateOf({Attached(20, 1, 1), Attached(21, 1, 2), Attached(21, 2, 3)});
  EXPECT_EQ(state.contents.entries().size(), 1u);
  EXPECT_EQ(state.contents.Find(21)->file, 2u);
  ASSERT_TRUE(state.Apply(Attached(22, 1, 4)));
  EXPECT_EQ(state.contents.entries().size(), 2u);
}

TEST(JournalState, DirtyIsWhatIsNotSettled) {
  JournalState state = StateOf({Attached(20, 1, 1)});
  EXPECT_TRUE(state.empty());
  ASSERT_TRUE(state.Apply(DirtyRecord{20}));
  EXPECT_FALSE(state.empty());
  ASSERT_TRUE(state.Apply(CleanRecord{20}));
  EXPECT_TRUE(state.empty());
  EXPECT_FALSE(state.Apply(DirtyRecord{99}));
}

TEST(JournalState, NumbersThatGoBackReplaceTheOnesBefore) {
  JournalState state =
      StateOf({Creation(1, 20), BatchRecord{.first_sequence = 9, .entries = {{1, 0}}},
               BatchRecord{.first_sequence = 1, .entries = {{1, 0}}}});
  EXPECT_EQ(state.numbered.size(), 1u);
  EXPECT_TRUE(state.numbered.contains(1));
  EXPECT_EQ(state.next_sequence, 2u);
}

TEST(JournalState, KnowsWhichCallCutAFile) {
  SetattrOp resize;
  resize.inode = 20;
  resize.size = 3;
  MutationRecord cut = Record(1, Mutation{.op = resize});
  cut.orphan = 0;
  JournalState state = StateOf({Attached(20, 1, 1), cut});
  EXPECT_EQ(state.contents.Find(20)->cut.mount, 3u);
  EXPECT_EQ(state.contents.Find(20)->cut.position, 77u);
}

TEST(JournalState, AttributesWithoutANameGoWhenThereIsOne) {
  const Xattrs xattrs{{"user.a", "value"}};
  JournalState state = StateOf({XattrsRecord{20, xattrs}, XattrsRecord{21, xattrs},
                                XattrsRecord{22, xattrs}, XattrsRecord{21, {}}, Creation(1, 22)});
  EXPECT_EQ(state.xattrs, (NamelessXattrs{{20, xattrs}}));
}

TEST(JournalState, KnowsWhichVersionAFileIsMadeOf) {
  JournalState state = StateOf({Attached(20, 1, 1), VersionRecord{20, 5}, VersionRecord{20, 6}});
  EXPECT_EQ(state.contents.Find(20)->version, 6u);
  EXPECT_FALSE(state.Apply(VersionRecord{21, 1}));
}

// A long life with small segments: what is read back is what counts, and the files stay few.
TEST(SessionJournal, StaysSmallAndForgetsNothing) {
  TempDir dir(kMemory);
  const std::string directory = dir / "journal";
  JournalOptions options{.session = {}, .segment_bytes = 16384};
  std::mt19937_64 random(1);
  JournalState expected;
  size_t most = 0;
  {
    auto journal = std::move(*SessionJournal::Create(directory, options));
    Ticket ticket = 1;
    uint64_t sequence = 1;
    Ticket first_unsent = 1;
    for (int round = 0; round < 3000; ++round) {
      for (uint64_t i = random() % 6; i > 0; --i) {
        const MutationRecord record = Creation(ticket, 100 + ticket);
        ++ticket;
        ASSERT_TRUE(journal->Append(record));
        ASSERT_TRUE(expected.Apply(record));
        const AttachedRecord attached =
            Attached(100 + record.ticket, 1 + random() % 40, ticket, true);
        ASSERT_TRUE(journal->Append(attached));
        ASSERT_TRUE(expected.Apply(attached));
        const VersionRecord version{attached.inode, ticket};
        journal->Append(version);
        ASSERT_TRUE(expected.Apply(version));
        XattrsRecord xattrs{1 + random() % 20, {}};
        if (random() % 3 != 0) xattrs.xattrs["user.n"] = std::to_string(ticket);
        ASSERT_TRUE(journal->Append(xattrs));
        ASSERT_TRUE(expected.Apply(xattrs));
      }
      // Now and then the gateway is away for a while.
      if (round % 500 > 400 || first_unsent == ticket) continue;
      BatchRecord batch{.first_sequence = sequence, .entries = {}};
      for (Ticket at = first_unsent; at < ticket; ++at) batch.entries.push_back({at, 0});
      sequence += batch.entries.size();
      first_unsent = ticket;
      ASSERT_TRUE(journal->Append(batch));
      ASSERT_TRUE(expected.Apply(batch));
      if (random() % 4 == 0) continue;
      const SettledRecord settled{.ticket = ticket - 1, .sequence = sequence - 1};
      journal->Append(settled);
      ASSERT_TRUE(expected.Apply(settled));
      size_t files = 0;
      for (const auto& entry : std::filesystem::directory_iterator(directory)) {
        files += entry.is_regular_file() ? 1 : 0;
      }
      most = std::max(most, files);
    }
  }
  EXPECT_LE(most, 8u);
  JournalState found;
  for (int again = 0; again < 2; ++again) {
    auto opened = SessionJournal::Open(directory, options, &found);
    ASSERT_TRUE(opened);
    ASSERT_EQ(found.pending.size(), expected.pending.size());
    for (const auto& [ticket, record] : expected.pending) {
      ASSERT_TRUE(found.pending.contains(ticket));
      ASSERT_EQ(std::get<CreateOp>(found.pending.at(ticket).mutation.op).inode, 100 + ticket);
    }
    ASSERT_EQ(found.numbered, expected.numbered);
    EXPECT_EQ(found.next_ticket, expected.next_ticket);
    EXPECT_EQ(found.next_sequence, expected.next_sequence);
    ASSERT_EQ(found.contents.entries().size(), expected.contents.entries().size());
    for (const auto& [inode, entry] : expected.contents.entries()) {
      ASSERT_NE(found.contents.Find(inode), nullptr);
      EXPECT_EQ(found.contents.Find(inode)->id, entry.id);
      EXPECT_EQ(found.contents.Find(inode)->version, entry.version);
    }
    EXPECT_FALSE(expected.xattrs.empty());
    EXPECT_EQ(found.xattrs, expected.xattrs);
  }
}

// What was sent is settled in parts when another life had numbered all of it at once.
TEST(SessionJournal, NumbersBehindASettledOneOutliveARewrite) {
  TempDir dir(kMemory);
  const std::string directory = dir / "journal";
  const JournalOptions options{.session = {}, .segment_bytes = 16384};
  {
    auto journal = std::move(*SessionJournal::Create(directory, options));
    for (const Ticket ticket : {1, 2, 3}) ASSERT_TRUE(journal->Append(Creation(ticket, 20)));
    const BatchRecord all{.first_sequence = 1, .entries = {{1, 0}, {2, 0}, {3, 0}}};
    ASSERT_TRUE(journal->Append(all));
    journal->Append(SettledRecord{.ticket = 1, .sequence = 1});
    // Until it was rewritten.
    for (uint64_t cursor = 1; cursor < 5000; ++cursor) {
      journal->Append(WatchRecord{.cursor = cursor, .lease_id = 0});
    }
  }
  JournalState found;
  ASSERT_TRUE(SessionJournal::Open(directory, options, &found));
  const std::map<uint64_t, BatchRecord::Entry> expected{{2, {2, 0}}, {3, {3, 0}}};
  EXPECT_EQ(found.numbered, expected);
  EXPECT_EQ(found.pending.size(), 2u);
}

// A removal that was refused puts a file on record again, as it is known.
TEST(SessionJournal, AFileThatIsOnRecordAgainIsOfTheSameVersion) {
  TempDir dir(kMemory);
  const std::string directory = dir / "journal";
  {
    auto journal = std::move(*SessionJournal::Create(directory, {}));
    ASSERT_TRUE(journal->Append(Attached(10, 1, 1)));
    journal->Append(VersionRecord{10, 7});
    const AttachedRecord again = *journal->contents().Find(10);
    ASSERT_TRUE(journal->Append(again));
    journal->Append(VersionRecord{10, 7});
  }
  JournalState found;
  ASSERT_TRUE(SessionJournal::Open(directory, {}, &found));
  ASSERT_NE(found.contents.Find(10), nullptr);
  EXPECT_EQ(found.contents.Find(10)->version, 7u);
}

// A host that changes nothing hears of others all the time, and reads large files.
TEST(SessionJournal, StaysSmallWithoutChanges) {
  TempDir dir(kMemory);
  const std::string directory = dir / "journal";
  auto journal =
      std::move(*SessionJournal::Create(directory, {.session = {}, .segment_bytes = 16384}));
  for (uint64_t round = 1; round < 20'000; ++round) {
    WatchRecord watch;
    watch.cursor = round;
    journal->Append(watch);
    if (round % 3 != 0) continue;
    ASSERT_TRUE(journal->Append(Attached(100 + round % 5, round, round)));
    if (round % 2 == 0) journal->Append(DetachedRecord{100 + round % 5});
  }
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    files += entry.is_regular_file() ? 1 : 0;
  }
  EXPECT_LE(files, 5u);
}

// Space: what follows from earlier records is still taken when new changes are refused.
TEST(SessionJournal, AdmitsNothingOnAFullDiskAndRecovers) {
  if (geteuid() != 0) GTEST_SKIP() << "needs a small file system";
  TempDir dir(kMemory);
  const std::string small = dir / "small";
  std::filesystem::create_directory(small);
  if (system(("mount -t tmpfs -o size=256k none " + small).c_str()) != 0) {
    GTEST_SKIP() << "cannot mount";
  }
  struct Unmount {
    std::string path;
    ~Unmount() { (void)!system(("umount -l " + path).c_str()); }
  } unmount{small};
  JournalOptions options{.session = {}, .segment_bytes = 65536};
  auto journal = std::move(*SessionJournal::Create(small + "/journal", options));
  Ticket ticket = 1;
  Result<void> admitted;
  while (ticket < 100'000 && (admitted = journal->Admit())) {
    ASSERT_TRUE(journal->Append(Creation(ticket, ticket + 100)));
    ++ticket;
  }
  ASSERT_FALSE(admitted);
  EXPECT_EQ(admitted.error().code, ENOSPC);
  ASSERT_GT(ticket, 1000u);
  // It drains in batches, all of which have to be on record.
  uint64_t sequence = 1;
  for (Ticket at = 1; at < ticket; at += 500) {
    BatchRecord batch{.first_sequence = sequence, .entries = {}};
    for (Ticket i = at; i < std::min<Ticket>(at + 500, ticket); ++i)
      batch.entries.push_back({i, 0});
    sequence += batch.entries.size();
    ASSERT_TRUE(journal->Append(batch));
    journal->Append(
        SettledRecord{.ticket = std::min<Ticket>(at + 500, ticket) - 1, .sequence = sequence - 1});
  }
  EXPECT_TRUE(journal->Admit());
  JournalState state;
  journal.reset();
  ASSERT_TRUE(SessionJournal::Open(small + "/journal", options, &state));
  EXPECT_TRUE(state.empty());
  EXPECT_EQ(state.next_sequence, sequence);
}

}  // namespace
}  // namespace airstore::broker
