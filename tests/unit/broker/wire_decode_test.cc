// SPDX-License-Identifier: Apache-2.0
#include "broker/wire_decode.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <xxhash.h>
#include <zstd.h>

#include "broker/wire_encode.h"

namespace airstore::broker {
namespace {

namespace wire = storage::v2;

void SetFile(wire::Attr* attr, uint64_t inode, uint64_t size) {
  attr->set_inode(inode);
  attr->set_mode(S_IFREG | 0644);
  attr->set_nlink(1);
  attr->set_size(size);
}
void SetDirectory(wire::Attr* attr, uint64_t inode) {
  attr->set_inode(inode);
  attr->set_mode(S_IFDIR | 0755);
}

TEST(WireDecode, KnowsPlausibleNames) {
  for (const std::string name : {"a", "...", ".x", "a b", "\xff\xfe"}) {
    EXPECT_TRUE(IsPlausibleName(name)) << name;
  }
  EXPECT_TRUE(IsPlausibleName(std::string(255, 'x')));
  for (const std::string& name :
       {std::string(), std::string("."), std::string(".."), std::string("a/b"), std::string("/"),
        std::string("a\0b", 3), std::string(256, 'x')}) {
    EXPECT_FALSE(IsPlausibleName(name)) << name;
  }
}

TEST(WireDecode, RefusesImpossibleAttributes) {
  wire::Attr good;
  SetFile(&good, 5, 10);
  EXPECT_TRUE(DecodeAttr(good));
  const auto refused = [&good](auto change) {
    wire::Attr bad = good;
    change(bad);
    const auto attr = DecodeAttr(bad);
    return !attr && attr.error().code == EPROTO;
  };
  EXPECT_TRUE(refused([](wire::Attr& attr) { attr.set_inode(0); }));
  EXPECT_TRUE(refused([](wire::Attr& attr) { attr.set_mode(0644); }));
  EXPECT_TRUE(refused([](wire::Attr& attr) { attr.set_mode(0170000); }));
  EXPECT_TRUE(refused([](wire::Attr& attr) { attr.set_mode(0x10000 | S_IFREG); }));
  EXPECT_TRUE(refused([](wire::Attr& attr) { attr.set_size(1ull << 63); }));
  EXPECT_TRUE(refused([](wire::Attr& attr) { attr.set_mode(S_IFLNK | 0777); }));
  EXPECT_TRUE(refused([](wire::Attr& attr) {
    attr.set_mode(S_IFLNK | 0777);
    attr.set_symlink_target(std::string("a\0b", 3));
  }));
  EXPECT_TRUE(refused([](wire::Attr& attr) {
    attr.set_mode(S_IFLNK | 0777);
    attr.set_symlink_target(std::string(4096, 'x'));
  }));
}

class ResolveTest : public testing::Test {
 protected:
  wire::DirEntry* AddList() {
    asked_.add_items()->mutable_list()->set_inode(7);
    asked_.mutable_items(asked_.items_size() - 1)->mutable_list()->set_inline_bytes(100);
    wire::Listing* listing = answer_.add_results()->mutable_listing();
    SetDirectory(listing->mutable_directory(), 7);
    listing->set_end(true);
    return AddEntry("a", 8);
  }
  wire::DirEntry* AddEntry(const std::string& name, uint64_t inode) {
    wire::DirEntry* entry =
        answer_.mutable_results(answer_.results_size() - 1)->mutable_listing()->add_entries();
    entry->set_name(name);
    SetFile(entry->mutable_attr(), inode, 3);
    return entry;
  }
  int ErrorOf(size_t item) {
    wire::ResolveResponse taken = answer_;  // decoding empties it
    const auto results = DecodeResolve(asked_, taken);
    EXPECT_TRUE(results);
    return results ? (*results)[item].error : -1;
  }

  wire::ResolveRequest asked_;
  wire::ResolveResponse answer_;
};

TEST_F(ResolveTest, TakesAListing) {
  wire::DirEntry* entry = AddList();
  entry->set_content_inlined(true);
  entry->set_content("abc");
  AddEntry("b", 9);
  const auto results = DecodeResolve(asked_, answer_);
  ASSERT_TRUE(results);
  const ResolveResult& list = results->at(0);
  EXPECT_EQ(list.error, 0);
  EXPECT_TRUE(list.end);
  EXPECT_EQ(list.directory.inode, 7u);
  ASSERT_EQ(list.entries.size(), 2u);
  EXPECT_TRUE(list.entries[0].inlined);
  EXPECT_EQ(list.entries[0].content, "abc");
  EXPECT_EQ(list.entries[1].name, "b");
}

TEST_F(ResolveTest, CountMustMatch) {
  AddList();
  answer_.add_results();
  EXPECT_EQ(DecodeResolve(asked_, answer_).error().code, EPROTO);
  answer_.clear_results();
  EXPECT_EQ(DecodeResolve(asked_, answer_).error().code, EPROTO);
}

TEST_F(ResolveTest, LayoutsTellOneBlockForEachRun) {
  wire::LayoutItem* item = asked_.add_items()->mutable_layout();
  wire::Layout* layout = answer_.add_results()->mutable_layout();
  layout->set_end(true);
  for (uint64_t offset : {0, 10}) {
    layout->add_runs()->set_offset(offset);
    layout->mutable_runs(layout->runs_size() - 1)->set_length(10);
  }
  EXPECT_EQ(ErrorOf(0), 0) << "an older gateway does not tell";
  layout->add_blocks()->set_block_id(std::string(16, 'a'));
  layout->add_blocks()->set_block_id(std::string(16, 'b'));
  layout->mutable_blocks(1)->set_offset(5);
  EXPECT_EQ(ErrorOf(0), EPROTO) << "nobody has asked";
  item->set_blocks(true);
  wire::ResolveResponse taken = answer_;
  const auto results = DecodeResolve(asked_, taken);
  ASSERT_TRUE(results);
  const Layout& found = results->at(0).layout;
  ASSERT_EQ(found.blocks.size(), 2u);
  EXPECT_EQ(found.blocks[1].first.bytes[15], 'b');
  EXPECT_EQ(found.blocks[1].second, 5u);
  layout->mutable_blocks(1)->set_block_id("short");
  EXPECT_EQ(ErrorOf(0), EPROTO);
  layout->mutable_blocks()->RemoveLast();
  EXPECT_EQ(ErrorOf(0), EPROTO);
}

TEST_F(ResolveTest, HostileNamesSpoilTheirListingOnly) {
  for (const std::string name : {"..", ".", "", "x/y", "../../etc/passwd"}) {
    asked_.Clear();
    answer_.Clear();
    AddList();
    AddEntry(name, 9);
    AddList();
    EXPECT_EQ(ErrorOf(0), EPROTO) << name;
    EXPECT_EQ(ErrorOf(1), 0) << name;
  }
}

TEST_F(ResolveTest, ListingsMustGoForward) {
  AddList();
  AddEntry("a", 9);
  EXPECT_EQ(ErrorOf(0), EPROTO);
  asked_.mutable_items(0)->mutable_list()->set_after("b");
  answer_.mutable_results(0)->mutable_listing()->mutable_entries()->RemoveLast();
  EXPECT_EQ(ErrorOf(0), EPROTO);
  answer_.mutable_results(0)->mutable_listing()->clear_entries();
  EXPECT_EQ(ErrorOf(0), 0);
  answer_.mutable_results(0)->mutable_listing()->set_end(false);
  EXPECT_EQ(ErrorOf(0), EPROTO);
}

TEST_F(ResolveTest, ListingMustBeOfTheDirectoryAskedFor) {
  AddList();
  answer_.mutable_results(0)->mutable_listing()->mutable_directory()->set_inode(6);
  EXPECT_EQ(ErrorOf(0), EPROTO);
}

TEST_F(ResolveTest, InlinedContentMustBeWhole) {
  wire::DirEntry* entry = AddList();
  entry->set_content_inlined(true);
  entry->set_content("abcd");
  EXPECT_EQ(ErrorOf(0), EPROTO);
}

TEST_F(ResolveTest, InlinedContentMustHaveBeenAskedFor) {
  wire::DirEntry* entry = AddList();
  entry->mutable_attr()->set_size(101);
  entry->set_content_inlined(true);
  entry->set_content(std::string(101, 'x'));
  EXPECT_EQ(ErrorOf(0), EPROTO);
}

TEST_F(ResolveTest, LookupAndGetattr) {
  asked_.add_items()->mutable_lookup()->set_name("n");
  asked_.add_items()->mutable_getattr()->set_inode(9);
  asked_.add_items()->mutable_getattr()->set_inode(9);
  asked_.add_items()->mutable_lookup()->set_name("m");
  asked_.add_items()->mutable_lookup()->set_name("o");
  SetFile(answer_.add_results()->mutable_entry()->mutable_attr(), 8, 0);
  SetFile(answer_.add_results()->mutable_entry()->mutable_attr(), 9, 0);
  SetFile(answer_.add_results()->mutable_entry()->mutable_attr(), 10, 0);
  answer_.add_results()->set_error(ENOENT);
  answer_.add_results()->set_error(-5);
  const auto results = DecodeResolve(asked_, answer_);
  ASSERT_TRUE(results);
  EXPECT_EQ((*results)[0].entry.name, "n");
  EXPECT_EQ((*results)[0].entry.attr.inode, 8u);
  EXPECT_EQ((*results)[1].error, 0);
  EXPECT_EQ((*results)[2].error, EPROTO) << "another inode";
  EXPECT_EQ((*results)[3].error, ENOENT);
  EXPECT_EQ((*results)[4].error, EPROTO) << "no errno";
}

class FetchTest : public testing::Test {
 protected:
  FetchTest() {
    wire::Range* range = asked_.add_ranges();
    range->set_offset(100);
    range->set_length(1000);
  }
  wire::FetchedRange* Add(uint64_t offset, const std::string& data) {
    wire::FetchedRange* range = answer_.add_ranges();
    range->set_offset(offset);
    range->set_length(data.size());
    range->set_data(data);
    range->set_xxh3(XXH3_64bits(data.data(), data.size()));
    return range;
  }
  int Error() {
    const auto ranges = DecodeFetch(asked_, answer_);
    return ranges ? 0 : ranges.error().code;
  }

  wire::FetchRequest asked_;
  wire::FetchResponse answer_;
};

TEST_F(FetchTest, TakesDataHolesAndCompressedData) {
  Add(100, "abc");
  wire::FetchedRange* hole = answer_.add_ranges();
  hole->set_offset(103);
  hole->set_length(97);
  const std::string plain(800, 'z');
  wire::FetchedRange* packed = Add(200, plain);
  std::string out(ZSTD_compressBound(plain.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), plain.data(), plain.size(), 1));
  packed->set_data(out);
  packed->set_compression(wire::COMPRESSION_ZSTD);
  const auto fetched = DecodeFetch(asked_, answer_);
  ASSERT_TRUE(fetched) << fetched.error().ToString();
  const std::vector<FetchedRange>& ranges = fetched->ranges;
  ASSERT_EQ(ranges.size(), 3u);
  EXPECT_EQ(ranges[0].data, "abc");
  EXPECT_TRUE(ranges[1].data.empty());
  EXPECT_EQ(ranges[1].length, 97u);
  EXPECT_EQ(ranges[2].data, plain);
}

TEST_F(FetchTest, EndOfFileIsShort) {
  EXPECT_EQ(Error(), 0);
  Add(100, "x");
  EXPECT_EQ(Error(), 0);
}

TEST_F(FetchTest, WrongChecksumIsEio) {
  Add(100, "abc")->set_xxh3(1);
  EXPECT_EQ(Error(), EIO);
}

TEST_F(FetchTest, PassesErrnos) {
  answer_.set_error(ENOENT);
  EXPECT_EQ(Error(), ENOENT);
  answer_.set_error(100'000);
  EXPECT_EQ(Error(), EPROTO);
}

TEST_F(FetchTest, RefusesWhatWasNotAskedFor) {
  const auto refused = [this](uint64_t offset, uint64_t length) {
    answer_.Clear();
    wire::FetchedRange* hole = answer_.add_ranges();
    hole->set_offset(offset);
    hole->set_length(length);
    return Error() == EPROTO;
  };
  EXPECT_TRUE(refused(99, 10));
  EXPECT_TRUE(refused(101, 10)) << "a gap would read as zeros";
  EXPECT_TRUE(refused(100, 1001));
  EXPECT_TRUE(refused(100, UINT64_MAX));
  EXPECT_FALSE(refused(100, 1000));
}

TEST_F(FetchTest, RefusesDamagedCompression) {
  wire::FetchedRange* range = Add(100, "abc");
  range->set_compression(wire::COMPRESSION_ZSTD);
  EXPECT_EQ(Error(), EPROTO);
  // Larger than it says.
  const std::string plain(900, 'z');
  std::string out(ZSTD_compressBound(plain.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), plain.data(), plain.size(), 1));
  range->set_data(out);
  EXPECT_EQ(Error(), EPROTO);
  range->set_compression(static_cast<wire::Compression>(9));
  EXPECT_EQ(Error(), EPROTO);
}

TEST_F(FetchTest, DataMustHaveItsLength) {
  Add(100, "abc")->set_length(4);
  EXPECT_EQ(Error(), EPROTO);
}

TEST(WireDecode, ChecksOpenedSessions) {
  wire::OpenSessionResponse good;
  good.set_workspace_id("w");
  SetDirectory(good.mutable_root(), 1);
  good.mutable_inodes()->set_first(100);
  good.mutable_inodes()->set_count(10);
  good.mutable_lease()->set_id(1);
  const auto session = DecodeOpen(good);
  ASSERT_TRUE(session);
  EXPECT_NE(session->lease_id, 0u);
  EXPECT_EQ(session->limits.block_bytes, SessionLimits().block_bytes) << "not said: the default";
  const auto refused = [&good](auto change) {
    wire::OpenSessionResponse bad = good;
    change(bad);
    const auto opened = DecodeOpen(bad);
    return !opened && opened.error().code == EPROTO;
  };
  EXPECT_TRUE(refused([](auto& bad) { bad.clear_root(); }));
  EXPECT_TRUE(refused([](auto& bad) { bad.mutable_root()->set_inode(2); }));
  EXPECT_TRUE(refused([](auto& bad) { SetFile(bad.mutable_root(), 1, 0); }));
  EXPECT_TRUE(refused([](auto& bad) { bad.clear_workspace_id(); }));
  EXPECT_TRUE(refused([](auto& bad) { bad.clear_inodes(); }));
  EXPECT_TRUE(refused([](auto& bad) { bad.mutable_inodes()->set_first(1); }));
  EXPECT_TRUE(refused([](auto& bad) { bad.mutable_inodes()->set_count(UINT64_MAX); }));
  EXPECT_FALSE(refused([](auto& bad) {
    bad.clear_inodes();
    bad.set_read_only(true);
  }));
  good.mutable_limits()->set_block_bytes(1ull << 40);
  EXPECT_LE(DecodeOpen(good)->limits.block_bytes, 8u << 20) << "what fits into a message";
}

TEST(WireDecode, ResultsMatchMutations) {
  wire::ApplyRequest asked;
  asked.add_mutations()->set_sequence(4);
  asked.add_mutations()->set_sequence(5);
  wire::ApplyResponse answer;
  answer.add_results()->set_sequence(4);
  EXPECT_EQ(DecodeApply(asked, answer).error().code, EPROTO);
  answer.add_results()->set_sequence(5);
  answer.mutable_results(1)->set_error(EEXIST);
  const auto results = DecodeApply(asked, answer);
  ASSERT_TRUE(results);
  EXPECT_EQ((*results)[1].error, EEXIST);
  answer.mutable_results(1)->set_sequence(6);
  EXPECT_EQ(DecodeApply(asked, answer).error().code, EPROTO);
}

TEST(WireDecode, OnlyWhatChangesContentTellsItsVersion) {
  wire::ApplyRequest asked;
  wire::ApplyResponse answer;
  const auto add = [&](uint64_t sequence) {
    asked.add_mutations()->set_sequence(sequence);
    wire::MutationResult* result = answer.add_results();
    result->set_sequence(sequence);
    for (const uint64_t inode : {1u, 4u}) {
      result->add_versions()->set_inode(inode);
      result->mutable_versions()->rbegin()->set_content_version(10 * inode);
    }
    return asked.mutable_mutations()->rbegin();
  };
  add(1)->mutable_create()->set_inode(4);
  add(2)->mutable_write()->set_inode(4);
  add(3)->mutable_setattr()->set_inode(4);
  add(4)->mutable_setattr()->set_inode(4);
  asked.mutable_mutations(3)->mutable_setattr()->set_size(0);
  add(5)->mutable_unlink()->set_inode(4);
  const auto results = DecodeApply(asked, answer);
  ASSERT_TRUE(results);
  const uint64_t expected[] = {40, 40, 0, 40, 0};
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ((*results)[i].content_version, expected[i]) << i;
  answer.set_lease_lost(true);
  EXPECT_EQ(DecodeApply(asked, answer).error().code, EKEYEXPIRED);
}

TEST(WireDecode, EventsNameWhatCanBe) {
  wire::WatchEvent event;
  event.set_cursor(7);
  event.mutable_changed()->add_inodes(4);
  wire::NameRef* name = event.mutable_changed()->add_names();
  name->set_parent(1);
  name->set_name("n");
  auto decoded = DecodeEvent(event);
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->cursor, 7u);
  EXPECT_EQ(decoded->inodes, std::vector<uint64_t>{4});
  EXPECT_EQ(decoded->names.at(0).name, "n");
  event.mutable_changed()->mutable_names(0)->set_name("a/b");
  EXPECT_EQ(DecodeEvent(event).error().code, EPROTO);
}

TEST(WireDecode, LocksSurviveTheWay) {
  const LockCall call{4, true, {{3, 1ull << 63}, LockType::kShared, 5, INT64_MAX, 77}, 9};
  wire::AssertLocksRequest asked;
  wire::AssertLocksResponse answer;
  EncodeLock(call, answer.add_lost());
  answer.set_lapsed(true);
  auto asserted = DecodeAssertedLocks(asked, answer);
  ASSERT_TRUE(asserted);
  EXPECT_TRUE(asserted->lapsed);
  ASSERT_EQ(asserted->lost.size(), 1u);
  EXPECT_EQ(asserted->lost[0].inode, 4u);
  EXPECT_TRUE(asserted->lost[0].flock);
  EXPECT_EQ(asserted->lost[0].range.owner, call.range.owner);
  for (const char* owner : {"", "3", "3.", ".4", "x.4", "3.4 ", "4294967296.1"}) {
    answer.mutable_lost(0)->set_owner(owner);
    EXPECT_FALSE(DecodeAssertedLocks(asked, answer)) << owner;
  }

  wire::LockResponse verdict;
  verdict.set_error(EAGAIN);
  EncodeLock(call, verdict.mutable_conflict());
  auto decoded = DecodeLock(verdict);
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->error, EAGAIN);
  ASSERT_TRUE(decoded->conflict);
  EXPECT_EQ(decoded->conflict->type, LockType::kShared);
  EXPECT_EQ(decoded->conflict->first, 5u);
  EXPECT_EQ(decoded->conflict->pid, 77u);
  verdict.mutable_conflict()->set_end(4);
  EXPECT_FALSE(DecodeLock(verdict));
  verdict.clear_conflict();
  verdict.set_error(100'000);
  EXPECT_FALSE(DecodeLock(verdict));
}

}  // namespace
}  // namespace airstore::broker
