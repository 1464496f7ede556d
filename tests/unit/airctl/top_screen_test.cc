// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/top_screen.h"

#include <gtest/gtest.h>

#include "tools/airctl/stats.h"

namespace airstore::airctl {
namespace {

namespace wire = control::v1;

class TopScreen : public testing::Test {
 protected:
  TopScreen() {
    status_.mutable_broker()->set_version("1.2");
    for (int i = 0; i < 30; ++i) {
      wire::MountStats* mount = report_.add_mounts();
      mount->set_mountpoint("/srv/workspaces/of/a/team/with/long/names/" + std::to_string(100 + i));
      mount->set_workspace("work");
      mount->set_state("ready");
      mount->set_requests(static_cast<uint64_t>(1000 * i));
      mount->set_unsent_bytes(static_cast<uint64_t>(30 - i) << 20);
      mount->mutable_names()->set_memory(90);
      mount->mutable_names()->set_broker(10);
      mount->mutable_all()->set_p99_ns(1'200'000);
    }
    wire::SessionStats* session = report_.add_sessions();
    session->set_workspace("work");
    session->set_gateway("gateway.example.org:7070");
    session->set_state("connected");
    report_.set_interval_ms(1000);
  }
  std::vector<std::string> Draw() { return DrawTop(status_, report_, view_); }
  std::string Text() {
    std::string text;
    for (const std::string& line : Draw()) text += line + "\n";
    return text;
  }
  // Which of two mounts is shown, and where.
  size_t PlaceOf(int mount) {
    const auto lines = Draw();
    for (size_t i = 0; i < lines.size(); ++i) {
      if (lines[i].find("/" + std::to_string(mount) + " ") != std::string::npos) return i;
    }
    return 0;
  }

  wire::StatusResponse status_;
  wire::StatsReport report_;
  TopView view_;
};

TEST_F(TopScreen, FitsEachSize) {
  for (const auto& [columns, rows] : {std::pair<size_t, size_t>{80, 24}, {200, 50}, {60, 10}}) {
    for (const bool help : {false, true}) {
      view_ = {.columns = columns, .rows = rows, .help = help};
      const auto lines = Draw();
      EXPECT_EQ(lines.size(), rows);
      for (const std::string& line : lines) EXPECT_LE(line.size(), columns) << line;
    }
  }
}

TEST_F(TopScreen, ShowsInEightyColumnsWhatIsAskedFor) {
  const std::string text = Text();
  for (const char* word : {"OPS/S", "P50", "P99", "HIT", "UNSENT", "AGE", "CALL/S", "IN/S", "OUT/S",
                           "29.0k", "1.2ms", "90%", "connected", "no problems"}) {
    EXPECT_NE(text.find(word), std::string::npos) << word << "\n" << text;
  }
  view_.columns = 200;
  for (const char* word : {"NAMES", "OPENS", "READS", "KERNEL", "MEMORY", "FILE", "BROKER", "STATE",
                           "WORKSPACE", "gateway.example.org:7070"}) {
    EXPECT_NE(Text().find(word), std::string::npos) << word << "\n" << Text();
  }
}

TEST_F(TopScreen, KeysSortAndTurnRound) {
  view_ = {.columns = 200, .rows = 60};
  EXPECT_LT(PlaceOf(129), PlaceOf(100));
  ASSERT_TRUE(PressKey('u', &view_));
  EXPECT_GT(PlaceOf(129), PlaceOf(100));
  ASSERT_TRUE(PressKey('r', &view_));
  EXPECT_LT(PlaceOf(129), PlaceOf(100));
  ASSERT_TRUE(PressKey('r', &view_));
  ASSERT_TRUE(PressKey('n', &view_));
  EXPECT_LT(PlaceOf(100), PlaceOf(101));
  EXPECT_FALSE(PressKey('q', &view_));
  ASSERT_TRUE(PressKey(' ', &view_));
  EXPECT_NE(Text().find("PAUSED"), std::string::npos);
}

TEST_F(TopScreen, ScrollsWhereThereAreMore) {
  view_ = {.columns = 200, .rows = 20, .sort = SortBy::kName};
  EXPECT_NE(PlaceOf(100), 0u);
  EXPECT_EQ(PlaceOf(129), 0u);
  for (int i = 0; i < 40; ++i) PressKey('j', &view_);
  EXPECT_EQ(PlaceOf(100), 0u);
  EXPECT_NE(PlaceOf(129), 0u);
}

TEST_F(TopScreen, WorstHitsComeFirst) {
  report_.mutable_mounts(7)->mutable_names()->set_broker(900);
  view_ = {.columns = 200, .rows = 60, .sort = SortBy::kHits};
  EXPECT_LT(PlaceOf(107), PlaceOf(106));
  EXPECT_LT(PlaceOf(107), PlaceOf(129));
}

TEST_F(TopScreen, ProblemsAreShownAndNothingReachesTheTerminalByAName) {
  wire::Problem* problem = status_.add_problems();
  problem->set_subject("\033[2J");
  problem->set_says("the gateway does not answer");
  report_.mutable_mounts(29)->set_mountpoint("/\033[31m\n");
  const std::string text = Text();
  EXPECT_NE(text.find("the gateway does not answer"), std::string::npos);
  EXPECT_EQ(text.find("no problems"), std::string::npos);
  EXPECT_EQ(text.find('\033'), std::string::npos);
}

}  // namespace
}  // namespace airstore::airctl
