// SPDX-License-Identifier: Apache-2.0
#include "broker/v1/session_state.h"

#include <gtest/gtest.h>

#include "tests/unit/broker/temp_dir.h"

namespace airstore::broker::v1 {
namespace {

class SessionStateTest : public testing::Test {
 protected:
  SessionState Load() {
    SessionState state(directory_.path());
    EXPECT_TRUE(state.Load());
    return state;
  }
  TempDir directory_;
};

TEST_F(SessionStateTest, NamesOutliveTheBroker) {
  uint64_t file = 0;
  {
    SessionState state = Load();
    const uint64_t directory = state.Learn(kRoot, "d");
    file = state.Learn(directory, "f");
    state.Move(kRoot, "d", kRoot, "e");
    state.Learn(kRoot, "gone");
    state.Unbind(kRoot, "gone");
  }
  const SessionState state = Load();
  EXPECT_EQ(state.paths().PathOf(file), "e/f");
  EXPECT_EQ(state.paths().Find(kRoot, "gone"), 0u);
}

TEST_F(SessionStateTest, NoNumberIsGivenTwice) {
  uint64_t first = 0;
  uint64_t learned = 0;
  {
    SessionState state = Load();
    first = state.TakeInodes(100);
    learned = state.Learn(kRoot, "a");
  }
  SessionState state = Load();
  EXPECT_GE(state.TakeInodes(1), first + 100);
  EXPECT_GT(state.Learn(kRoot, "b"), learned);
}

TEST_F(SessionStateTest, ResultsOutliveTheBroker) {
  {
    SessionState state = Load();
    ASSERT_TRUE(state.Begin(1, 0));
    ASSERT_TRUE(state.Finish(1, {.error = ENOENT, .version = 0}));
    ASSERT_TRUE(state.Begin(2, 55));
    ASSERT_TRUE(state.Finish(2, {.error = 0, .version = 9}));
    ASSERT_TRUE(state.Begin(3, 77));
  }
  SessionState state = Load();
  EXPECT_EQ(state.last_done(), 2u);
  EXPECT_EQ(state.DoneBefore(1)->error, ENOENT);
  EXPECT_EQ(state.DoneBefore(2)->version, 9u);
  EXPECT_FALSE(state.DoneBefore(3));
  EXPECT_TRUE(state.begun(3));
  EXPECT_TRUE(state.torn(77));
  EXPECT_FALSE(state.torn(55));
  ASSERT_TRUE(state.Finish(3, {.error = 0, .version = 1}));
  EXPECT_FALSE(state.torn(77));
}

TEST_F(SessionStateTest, ManyChangesAreRewritten) {
  {
    SessionState state = Load();
    for (uint64_t i = 1; i <= 60'000; ++i) {
      ASSERT_TRUE(state.Begin(i, 0));
      ASSERT_TRUE(state.Finish(i, {}));
      if (i % 100 == 0) {
        ASSERT_TRUE(state.Save());
      }
    }
    state.Learn(kRoot, "a");
  }
  EXPECT_LT(std::filesystem::file_size(directory_ / "v1.names"), 4u << 20);
  SessionState state = Load();
  EXPECT_EQ(state.last_done(), 60'000u);
  EXPECT_NE(state.paths().Find(kRoot, "a"), 0u);
}

TEST_F(SessionStateTest, AFileOfOthersIsRefused) {
  ASSERT_TRUE(RecordFile::Write(directory_ / "v1.names", {"something else"}));
  SessionState state(directory_.path());
  const auto loaded = state.Load();
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, EPROTO);
}

TEST_F(SessionStateTest, WaitsForItsDirectory) {
  SessionState state(directory_ / "later");
  ASSERT_TRUE(state.Load());
  state.Learn(kRoot, "before");
  std::filesystem::create_directory(directory_ / "later");
  state.Learn(kRoot, "after");
  SessionState again(directory_ / "later");
  ASSERT_TRUE(again.Load());
  EXPECT_NE(again.paths().Find(kRoot, "before"), 0u);
  EXPECT_NE(again.paths().Find(kRoot, "after"), 0u);
}

}  // namespace
}  // namespace airstore::broker::v1
