// SPDX-License-Identifier: Apache-2.0
#include "broker/journal.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <xxhash.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>

#include "tests/unit/broker/temp_dir.h"

namespace airstore::broker {
namespace {

namespace fs = std::filesystem;

constexpr char kMemory[] = "/dev/shm";  // thousands of files
constexpr uint64_t kSegment = 1024;
constexpr uint16_t kType = 7;

struct Entry {
  uint64_t lsn = 0;
  uint16_t type = 0;
  std::string payload;
  bool operator==(const Entry&) const = default;
};
using Entries = std::vector<Entry>;

JournalOptions Options() {
  JournalOptions options;
  options.session.fill(0x5a);
  options.segment_bytes = kSegment;
  return options;
}

std::span<const uint8_t> Bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

std::unique_ptr<Journal> Open(const std::string& directory, Entries* entries,
                              Journal::End* end = nullptr) {
  Journal::End ignored;
  auto journal = Journal::Open(
      directory, Options(),
      [&](const JournalRecord& record) {
        entries->push_back(
            {record.lsn, record.type, std::string(record.payload.begin(), record.payload.end())});
      },
      end != nullptr ? end : &ignored);
  EXPECT_TRUE(journal) << journal.error().ToString();
  return journal ? std::move(*journal) : nullptr;
}

// Appends records of many lengths and returns them.
Entries Fill(Journal* journal, int count, uint64_t seed) {
  std::mt19937_64 random(seed);
  Entries entries;
  for (int i = 0; i < count; ++i) {
    std::string payload(random() % 3 == 0 ? random() % 300 : random() % 24, '\0');
    for (char& c : payload) c = static_cast<char>(random());
    const uint64_t lsn = journal->next_lsn();
    EXPECT_TRUE(journal->Append(kType, Bytes(payload)));
    entries.push_back({lsn, kType, payload});
  }
  return entries;
}

std::vector<fs::path> Segments(const std::string& directory) {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.path().filename().string().rfind("segment-", 0) == 0) paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

std::string Content(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void Overwrite(const fs::path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}

void ExpectPrefix(const Entries& all, const Entries& found, const std::string& what) {
  ASSERT_LE(found.size(), all.size()) << what;
  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_EQ(found[i], all[i]) << what << ", record " << i;
  }
}

TEST(Journal, ReadsBackWhatWasAppendedOverSegments) {
  TempDir dir(kMemory);
  Entries expected;
  {
    auto journal = Journal::Create(dir.path(), Options());
    ASSERT_TRUE(journal);
    expected = Fill(journal->get(), 300, 1);
  }
  EXPECT_GT(Segments(dir.path()).size(), 3u);
  Entries found;
  Journal::End end;
  auto journal = Open(dir.path(), &found, &end);
  EXPECT_EQ(found, expected);
  EXPECT_FALSE(end.damaged);
  EXPECT_EQ(end.next_lsn, expected.back().lsn + 1);

  // And goes on where it ended, any number of times.
  for (uint64_t round = 2; round < 5; ++round) {
    const Entries more = Fill(journal.get(), 40, round);
    expected.insert(expected.end(), more.begin(), more.end());
    journal.reset();
    found.clear();
    journal = Open(dir.path(), &found, &end);
    EXPECT_EQ(found, expected);
    EXPECT_FALSE(end.damaged);
  }
}

// A file that ends anywhere, with what was written until then.
TEST(Journal, EveryPrefixOfAFileIsAPrefixOfTheRecords) {
  TempDir dir(kMemory);
  Entries expected;
  {
    auto journal = Journal::Create(dir.path(), Options());
    expected = Fill(journal->get(), 30, 3);
  }
  const auto segments = Segments(dir.path());
  ASSERT_GE(segments.size(), 2u);
  const std::string whole = Content(segments.back());
  size_t most = 0;
  for (const bool zeros : {false, true}) {
    for (size_t length = 0; length <= whole.size(); ++length) {
      TempDir copy(kMemory);
      for (const auto& path : segments) fs::copy(path, copy / path.filename().string());
      std::string part = whole.substr(0, length);
      if (zeros) part.resize(whole.size(), '\0');
      Overwrite(copy / segments.back().filename().string(), part);
      Entries found;
      ASSERT_NE(Open(copy.path(), &found), nullptr);
      ExpectPrefix(expected, found, "length " + std::to_string(length));
      most = std::max(most, found.size());
    }
  }
  EXPECT_EQ(most, expected.size());
}

TEST(Journal, EveryFlippedBitLeavesAPrefixOfTheRecords) {
  TempDir dir(kMemory);
  Entries expected;
  {
    auto journal = Journal::Create(dir.path(), Options());
    expected = Fill(journal->get(), 25, 4);
  }
  const auto segments = Segments(dir.path());
  ASSERT_GE(segments.size(), 2u);
  size_t shorter = 0;
  for (const auto& damaged : segments) {
    const std::string whole = Content(damaged);
    for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
      TempDir copy(kMemory);
      for (const auto& path : segments) fs::copy(path, copy / path.filename().string());
      std::string flipped = whole;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
      Overwrite(copy / damaged.filename().string(), flipped);
      Entries found;
      auto journal = Open(copy.path(), &found);
      ASSERT_NE(journal, nullptr);
      ExpectPrefix(expected, found, "bit " + std::to_string(bit));
      if (found.size() < expected.size()) ++shorter;
      // What is appended then follows what was read, and nothing of the old rest comes back.
      if (bit % 64 != 0) continue;
      const Entries more = Fill(journal.get(), 3, bit);
      journal.reset();
      Entries again;
      ASSERT_NE(Open(copy.path(), &again), nullptr);
      Entries all = found;
      all.insert(all.end(), more.begin(), more.end());
      ASSERT_EQ(again, all) << "bit " << bit;
    }
  }
  EXPECT_GT(shorter, 1000u);  // the bits of records do count
}

TEST(Journal, RewriteGivesUpWhatCameBefore) {
  TempDir dir(kMemory);
  auto journal = std::move(*Journal::Create(dir.path(), Options()));
  for (int round = 0; round < 50; ++round) {
    Fill(journal.get(), 60, static_cast<uint64_t>(round));
    ASSERT_TRUE(journal->Rewrite([&]() -> Result<void> {
      auto kept = journal->Append(kType, Bytes("kept " + std::to_string(round)));
      if (!kept) return kept.error();
      return {};
    }));
    ASSERT_LE(Segments(dir.path()).size(), 2u);
  }
  Fill(journal.get(), 2, 99);
  journal.reset();
  Entries found;
  journal = Open(dir.path(), &found);
  auto mark = std::find_if(found.rbegin(), found.rend(),
                           [](const Entry& entry) { return entry.type == Journal::kRewriteBegin; });
  ASSERT_NE(mark, found.rend());
  const Entries rest(mark.base(), found.end());
  ASSERT_EQ(rest.size(), 4u);
  EXPECT_EQ(rest[0].payload, "kept 49");
  EXPECT_EQ(rest[1].type, Journal::kRewriteEnd);
}

TEST(Journal, RewriteThatFailsHasNotHappened) {
  TempDir dir(kMemory);
  auto journal = std::move(*Journal::Create(dir.path(), Options()));
  Entries expected = Fill(journal.get(), 60, 5);
  EXPECT_FALSE(journal->Rewrite([&]() -> Result<void> {
    Fill(journal.get(), 60, 6);
    return Error{ENOSPC, "as if"};
  }));
  const Entries more = Fill(journal.get(), 60, 7);
  expected.insert(expected.end(), more.begin(), more.end());
  journal.reset();
  Entries found;
  Journal::End end;
  journal = Open(dir.path(), &found, &end);
  EXPECT_EQ(found, expected);
  EXPECT_FALSE(end.damaged);
}

// On a disk that is full: what settles the rest must find room.
TEST(Journal, RewriteThatFindsNoRoomLeavesTheReserve) {
  TempDir dir(kMemory);
  if (mount("none", dir.path().c_str(), "tmpfs", 0, "size=80k") != 0) {
    GTEST_SKIP() << "no file system of its own: " << strerror(errno);
  }
  const std::string directory = dir.path() + "/journal";
  fs::create_directory(directory);
  JournalOptions options = Options();
  options.segment_bytes = 8192;
  const std::string payload(1000, 'x');
  const std::string others = dir.path() + "/others";
  std::ofstream(others) << std::string(20'000, 'o');
  {
    auto journal = std::move(*Journal::Create(directory, options));
    while (journal->Admit()) ASSERT_TRUE(journal->Append(kType, Bytes(payload)));
    fs::remove(others);  // not enough for all of it
    EXPECT_FALSE(journal->Rewrite([&]() -> Result<void> {
      for (;;) {
        auto kept = journal->Append(kType, Bytes(payload));
        if (!kept) return kept.error();
      }
    }));
    EXPECT_TRUE(fs::exists(directory + "/spare"));
  }
  umount2(dir.path().c_str(), MNT_DETACH);
}

// Each time that the disk has caught up with one of them, what that one gave up goes.
TEST(Journal, RewritesThatFollowEachOtherGiveUpWhatIsSynced) {
  TempDir dir(kMemory);
  JournalOptions options = Options();
  options.keep_until_synced = true;
  auto journal = std::move(*Journal::Create(dir.path(), options));
  uint64_t seen_by_disk = 0;
  for (int round = 0; round < 50; ++round) {
    Fill(journal.get(), 60, static_cast<uint64_t>(round));
    ASSERT_TRUE(journal->Rewrite([&]() -> Result<void> {
      auto kept = journal->Append(kType, Bytes("kept"));
      if (!kept) return kept.error();
      return {};
    }));
    // It is always one rewrite behind.
    journal->Synced(std::exchange(seen_by_disk, journal->next_lsn()));
    EXPECT_TRUE(journal->keeps());
    ASSERT_LE(Segments(dir.path()).size(), 40u);
  }
  journal->Synced(journal->next_lsn());
  EXPECT_FALSE(journal->keeps());
  EXPECT_LE(Segments(dir.path()).size(), 2u);
}

// The disk had the name of a new segment when power was lost, and none of its pages.
TEST(Journal, ASegmentThatIsOnlyANameIsNone) {
  TempDir dir(kMemory);
  auto journal = std::move(*Journal::Create(dir.path(), Options()));
  Entries expected = Fill(journal.get(), 60, 5);
  journal.reset();
  const std::string last = Segments(dir.path()).back().filename().string();
  char name[32];
  snprintf(name, sizeof name, "/segment-%016llx", std::stoull(last.substr(8), nullptr, 16) + 1);
  std::ofstream(dir.path() + name) << std::string(kSegment, '\0');
  Entries found;
  Journal::End end;
  journal = Open(dir.path(), &found, &end);
  EXPECT_EQ(found, expected);
  EXPECT_FALSE(end.incomplete);
  EXPECT_FALSE(end.damaged);
  const Entries more = Fill(journal.get(), 60, 6);
  expected.insert(expected.end(), more.begin(), more.end());
  journal.reset();
  found.clear();
  journal = Open(dir.path(), &found, &end);
  EXPECT_EQ(found, expected);
}

TEST(Journal, RefusesWhatNoSegmentHolds) {
  TempDir dir(kMemory);
  auto journal = std::move(*Journal::Create(dir.path(), Options()));
  const std::string most(JournalSegment::MaxPayload(kSegment), 'x');
  EXPECT_TRUE(journal->Append(kType, Bytes(most)));
  auto refused = journal->Append(kType, Bytes(most + "x"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, EMSGSIZE);
}

TEST(Journal, AnotherSessionsFilesAreNotRead) {
  TempDir dir(kMemory);
  {
    auto journal = Journal::Create(dir.path(), Options());
    Fill(journal->get(), 5, 8);
  }
  JournalOptions other = Options();
  other.session.fill(1);
  Journal::End end;
  auto journal = Journal::Open(
      dir.path(), other, [](const JournalRecord&) { FAIL(); }, &end);
  ASSERT_TRUE(journal);
  EXPECT_TRUE(end.damaged);
  EXPECT_TRUE(end.incomplete);
  journal->reset();
  // And that is not forgotten by the time it is read again.
  ASSERT_TRUE(Journal::Open(
      dir.path(), other, [](const JournalRecord&) {}, &end));
  EXPECT_TRUE(end.incomplete);
}

// As another version of this program would have written it.
void SetVersion(const fs::path& segment, uint32_t version) {
  constexpr size_t kVersionAt = 8;
  constexpr size_t kChecksumAt = 56;
  std::string content = Content(segment);
  std::memcpy(content.data() + kVersionAt, &version, sizeof(version));
  const uint64_t checksum = XXH3_64bits(content.data(), kChecksumAt);
  std::memcpy(content.data() + kChecksumAt, &checksum, sizeof(checksum));
  Overwrite(segment, content);
}

TEST(Journal, ReadsTheFormatBeforeAndGoesOnInItsOwn) {
  TempDir dir(kMemory);
  Entries expected;
  {
    auto journal = Journal::Create(dir.path(), Options());
    expected = Fill(journal->get(), 100, 9);
  }
  const auto before = Segments(dir.path());
  for (const auto& segment : before) SetVersion(segment, 2);
  Entries found;
  Journal::End end;
  {
    const auto journal = Open(dir.path(), &found, &end);
    EXPECT_EQ(found, expected);
    EXPECT_FALSE(end.damaged || end.incomplete);
    const Entries more = Fill(journal.get(), 10, 10);
    expected.insert(expected.end(), more.begin(), more.end());
  }
  EXPECT_EQ(Content(Segments(dir.path()).back())[8], 3);
  found.clear();
  ASSERT_NE(Open(dir.path(), &found), nullptr);
  EXPECT_EQ(found, expected);
}

TEST(Journal, RefusesOtherFormatsAndLeavesThemAlone) {
  for (const uint32_t version : {1u, 4u}) {
    TempDir dir(kMemory);
    {
      auto journal = Journal::Create(dir.path(), Options());
      Fill(journal->get(), 100, 11);
    }
    SetVersion(Segments(dir.path()).back(), version);
    const auto everything = [&] {
      std::map<std::string, std::string> files;
      for (const auto& entry : fs::directory_iterator(dir.path())) {
        files[entry.path().filename().string()] = Content(entry.path());
      }
      return files;
    };
    const auto before = everything();
    Journal::End end;
    const auto journal = Journal::Open(
        dir.path(), Options(), [](const JournalRecord&) {}, &end);
    ASSERT_FALSE(journal);
    EXPECT_EQ(journal.error().code, EPROTONOSUPPORT);
    EXPECT_NE(journal.error().message.find("has format " + std::to_string(version)),
              std::string::npos);
    EXPECT_TRUE(everything() == before);
  }
}

}  // namespace
}  // namespace airstore::broker
