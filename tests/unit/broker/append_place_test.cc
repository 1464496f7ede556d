// SPDX-License-Identifier: Apache-2.0
#include "broker/append_place.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "shm/base/fd.h"
#include "tests/unit/broker/temp_dir.h"

namespace airstore::broker {
namespace {

std::span<const uint8_t> Bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

class AppendPlace : public testing::Test {
 protected:
  void Fill(const std::string& content) {
    ASSERT_EQ(ftruncate(file_.get(), 0), 0);
    ASSERT_EQ(pwrite(file_.get(), content.data(), content.size(), 0),
              static_cast<ssize_t>(content.size()));
  }
  std::string Content() const {
    std::string content(1000, 'x');
    content.resize(static_cast<size_t>(pread(file_.get(), content.data(), content.size(), 0)));
    return content;
  }
  uint64_t Replayed(uint64_t given, const std::string& data, bool begun) const {
    return PlaceOfReplayed(file_.get(), given, Bytes(data), begun);
  }

  TempDir directory_;
  UniqueFd file_{open((directory_.path() + "/file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
};

TEST_F(AppendPlace, IsTheEndWhereverTheDescriptorIs) {
  Fill("begin ");
  lseek(file_.get(), 2, SEEK_SET);
  uint64_t place = 0;
  EXPECT_EQ(WriteAtEnd(file_.get(), Bytes("more"), &place), 4);
  EXPECT_EQ(place, 6u);
  EXPECT_EQ(Content(), "begin more");
  EXPECT_EQ(lseek(file_.get(), 0, SEEK_CUR), 2) << "another thread may use it";
}

TEST_F(AppendPlace, WhatWasAppendedIsFoundBehindWhatOthersAppended) {
  Fill("begin theirs ours");
  EXPECT_EQ(FindAppended(file_.get(), 6, Bytes("ours")), 13u);
  EXPECT_FALSE(FindAppended(file_.get(), 14, Bytes("ours")));
  EXPECT_FALSE(FindAppended(file_.get(), 100, Bytes("ours")));
}

TEST_F(AppendPlace, OfAReplayedOneIsAsGivenWhereNothingElseIs) {
  Fill("begin ");
  EXPECT_EQ(Replayed(6, "ours", false), 6u);
  EXPECT_EQ(Replayed(10, "ours", false), 10u) << "behind one that has not come";
  Fill("begin ou");
  EXPECT_EQ(Replayed(6, "ours", false), 6u) << "its beginning";
  Fill(std::string("begin \0\0\0\0more", 14));
  EXPECT_EQ(Replayed(6, "ours", false), 6u) << "others have gone on behind it";
  Fill("begin ours");
  EXPECT_EQ(Replayed(6, "ours", false), 6u);
}

TEST_F(AppendPlace, OfAReplayedOneIsTheEndWhereAKernelHasAppended) {
  Fill("begin theirs ours, too");
  EXPECT_EQ(Replayed(6, "ours", false), 22u) << "these are somebody else's";
  EXPECT_EQ(Replayed(6, "ours", true), 13u);
  EXPECT_EQ(Replayed(6, "mine", true), 22u);
}

}  // namespace
}  // namespace airstore::broker
