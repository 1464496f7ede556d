// SPDX-License-Identifier: Apache-2.0
//
// Names, attributes, listings and content as an original gateway tells them.
#include <algorithm>

#include "tests/unit/broker/v1/v1_test.h"

namespace airstore::broker::v1 {
namespace {

class ResolveTest : public V1Test {
 protected:
  std::vector<std::string> Names(uint64_t directory) {
    const ResolveResult listed = List(directory);
    EXPECT_EQ(listed.error, 0);
    EXPECT_TRUE(listed.end);
    std::vector<std::string> names;
    for (const DirEntry& entry : listed.entries) names.push_back(entry.name);
    return names;
  }
};

TEST_F(ResolveTest, TellsWhatIsThere) {
  Put("d/f", "abc", S_IFREG | 0640);
  const ResolveResult directory = Lookup(kTop, "d");
  ASSERT_EQ(directory.error, 0);
  EXPECT_EQ(directory.entry.attr.mode, S_IFDIR | 0755u);
  const ResolveResult file = Resolve(LookupItem{directory.entry.attr.inode, "f", 100});
  ASSERT_EQ(file.error, 0);
  EXPECT_EQ(file.entry.attr.mode, S_IFREG | 0640u);
  EXPECT_EQ(file.entry.attr.size, 3u);
  EXPECT_EQ(file.entry.attr.uid, 7u);
  EXPECT_EQ(file.entry.attr.gid, 8u);
  EXPECT_EQ(file.entry.attr.mtime_ns, original_.now_s * 1'000'000'000);
  EXPECT_TRUE(file.entry.inlined);
  EXPECT_EQ(file.entry.content, "abc");
  EXPECT_EQ(Lookup(kTop, "none").error, ENOENT);
}

TEST_F(ResolveTest, NumbersStayWithTheirNames) {
  Put("a", "1");
  const uint64_t a = InodeOf(kTop, "a");
  Connect();
  EXPECT_EQ(InodeOf(kTop, "a"), a);
  EXPECT_EQ(List(kTop).entries.front().attr.inode, a);
}

TEST_F(ResolveTest, AFailureIsNoMissingName) {
  Put("f", "abc");
  original_.before = [](const std::string&, const std::string&) {
    return "AccessDenied: SignatureDoesNotMatch";
  };
  EXPECT_EQ(Lookup(kTop, "f").error, EIO);
  original_.before = [](const std::string&, const std::string&) { return "!unavailable"; };
  EXPECT_EQ(Lookup(kTop, "f").error, EAGAIN);
}

TEST_F(ResolveTest, ListingsAreWhole) {
  std::vector<std::string> expected;
  for (int i = 0; i < 3000; ++i) {
    const std::string name = "f" + std::to_string(10'000 + i);
    Put("d/" + name, "x");
    expected.push_back(name);
  }
  EXPECT_EQ(Names(InodeOf(kTop, "d")), expected);
  EXPECT_GT(original_.calls["ListTree"], 0u);
}

// A hidden name counts for the original's page as well.
TEST_F(ResolveTest, AListingIsWholeWithHiddenNamesInIt) {
  for (int i = 0; i < 50; ++i) Put("d/._" + std::to_string(i), "x");
  for (int i = 0; i < 1200; ++i) Put("d/f" + std::to_string(10'000 + i), "x");
  size_t seen = 0;
  for (const std::string& name : Names(InodeOf(kTop, "d"))) seen += name[0] == 'f' ? 1 : 0;
  EXPECT_EQ(seen, 1200u);
}

TEST_F(ResolveTest, SubdirectoriesOfALargeDirectoryAreListedOnce) {
  for (int i = 0; i < 1500; ++i) {
    Put("d/s" + std::to_string(10'000 + i) + "/a", "x");
    Put("d/s" + std::to_string(10'000 + i) + "/b", "x");
  }
  EXPECT_EQ(Names(InodeOf(kTop, "d")).size(), 1500u);
}

TEST_F(ResolveTest, AListingOfWhatIsGoneIsNoEmptyOne) {
  Put("d/f", "x");
  const uint64_t directory = InodeOf(kTop, "d");
  original_.objects.clear();
  EXPECT_EQ(List(directory).error, ENOENT);
  Put("d", "a file now");
  EXPECT_EQ(List(directory).error, ENOTDIR);
}

TEST_F(ResolveTest, LinksAreLinksAlsoInTheFirstEra) {
  Connect(true);
  Create(kTop, "l", S_IFLNK | 0777);
  Put("f", "short");
  const ResolveResult listed = List(kTop);
  ASSERT_EQ(listed.entries.size(), 2u);
  EXPECT_TRUE(S_ISREG(listed.entries[0].attr.mode));
  EXPECT_TRUE(S_ISLNK(listed.entries[1].attr.mode));
  EXPECT_EQ(listed.entries[1].attr.symlink_target, "target");
}

TEST_F(ResolveTest, ReadsRangesAndKnowsTheEnd) {
  Put("f", "0123456789");
  const uint64_t file = InodeOf(kTop, "f");
  const auto fetch = [&](uint64_t offset, uint64_t length) {
    auto fetched = RunTask(loop_, gateway_->Fetch(file, offset, length));
    EXPECT_TRUE(fetched) << fetched.error().ToString();
    return fetched && !fetched->ranges.empty() ? fetched->ranges.front().data : std::string();
  };
  EXPECT_EQ(fetch(0, 4), "0123");
  EXPECT_EQ(fetch(8, 4), "89");
  EXPECT_EQ(fetch(10, 4), "");
  EXPECT_EQ(fetch(100, 4), "");
}

TEST_F(ResolveTest, AChangeInTheMiddleOfReadingIsNoticed) {
  Put("f", std::string(8u << 20, 'a'));
  const uint64_t file = InodeOf(kTop, "f");
  const auto first = RunTask(loop_, gateway_->Fetch(file, 0, 4u << 20));
  original_.now_s += 5;
  Put("f", std::string(8u << 20, 'b'));
  const auto second = RunTask(loop_, gateway_->Fetch(file, 4u << 20, 4u << 20));
  ASSERT_TRUE(first && second);
  EXPECT_NE(first->content_version, second->content_version);
}

TEST_F(ResolveTest, ManyOfADirectoryTakeOneCall) {
  for (int i = 0; i < 100; ++i) Put("d/f" + std::to_string(i), std::to_string(i));
  const uint64_t directory = InodeOf(kTop, "d");
  std::vector<ResolveItem> items;
  for (const DirEntry& entry : List(directory).entries) {
    items.push_back(GetattrItem{entry.attr.inode, 0});
  }
  original_.calls.clear();
  auto answer = RunTask(loop_, gateway_->Resolve(items));
  ASSERT_TRUE(answer);
  for (const ResolveResult& result : *answer) EXPECT_EQ(result.error, 0);
  EXPECT_EQ(original_.calls["Stat"], 0u);
  EXPECT_EQ(original_.calls["ReadDir"], 1u);
}

TEST_F(ResolveTest, WhatWasToldAgesAndNothingElse) {
  V1Options options;
  options.directory_of = [this](const auto&) { return directory_.path(); };
  options.age = std::chrono::milliseconds(20);
  gateway_ =
      MakeV1Gateway(loop_.get_executor(), std::make_unique<OriginalClient>(&original_), options);
  ASSERT_TRUE(RunTask(loop_, gateway_->Open("work", {1}, false)));
  Put("f", "x");
  const uint64_t file = InodeOf(kTop, "f");
  const auto stream = gateway_->Watch(0);
  const auto event = RunTask(loop_, stream->Next());
  ASSERT_TRUE(event) << event.error().ToString();
  EXPECT_TRUE(event->aged);
  EXPECT_EQ(event->directories, std::vector<uint64_t>{kTop});
  EXPECT_TRUE(std::count(event->inodes.begin(), event->inodes.end(), file));
  auto cancel = [](WatchStream* what, boost::asio::any_io_executor executor) -> Task<bool> {
    boost::asio::steady_timer timer(executor, std::chrono::milliseconds(50));
    co_await timer.async_wait(boost::asio::use_awaitable);
    what->Cancel();
    co_return true;
  };
  std::optional<Result<WatchEvent>> next;
  Spawn(loop_.get_executor(), Store(stream->Next(), &next));
  RunTask(loop_, cancel(stream.get(), loop_.get_executor()));
  ASSERT_TRUE(next);
  EXPECT_FALSE(*next) << "nothing was asked, so nothing ages";
}

}  // namespace
}  // namespace airstore::broker::v1
