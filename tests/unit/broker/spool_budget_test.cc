// SPDX-License-Identifier: Apache-2.0
#include "broker/spool_budget.h"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <optional>

#include "shm/lane.h"
#include "shm/layout.h"
#include "tests/unit/broker/temp_dir.h"

namespace airstore::broker {
namespace {

constexpr uint64_t kMiB = 1u << 20;

class SpoolBudgetTest : public testing::Test {
 protected:
  std::optional<Error> AdmitNow(std::chrono::milliseconds patience) {
    std::optional<Error> error;
    bool done = false;
    Spawn(loop_.get_executor(),
          [](SpoolBudget* budget, std::chrono::milliseconds how_long, std::optional<Error>* into,
             bool* over) -> Task<void> {
            auto admitted = co_await budget->Admit(how_long);
            if (!admitted) *into = admitted.error();
            *over = true;
          }(&budget_, patience, &error, &done));
    loop_.restart();
    while (!done) loop_.run_one();
    return error;
  }

  TempDir temp_;
  boost::asio::io_context loop_;
  SpoolBudget budget_{loop_.get_executor(),
                      temp_.path(),
                      temp_ / "reserve",
                      {1000 * kMiB, std::chrono::milliseconds(200)}};
};

TEST_F(SpoolBudgetTest, WritersAreSlowedBeforeTheyAreStopped) {
  SpoolBudget::Share share(&budget_);
  EXPECT_EQ(budget_.gate().wait_us_per_mib, 0u);
  share.Set(700 * kMiB);
  EXPECT_EQ(budget_.gate().wait_us_per_mib, 0u);
  uint32_t before = 0;
  for (const uint64_t used : {800, 850, 900, 950, 999}) {
    share.Set(used * kMiB);
    EXPECT_GT(budget_.gate().wait_us_per_mib, before) << used;
    EXPECT_FALSE(budget_.gate().closed());
    before = budget_.gate().wait_us_per_mib;
  }
  share.Set(1000 * kMiB);
  EXPECT_TRUE(budget_.gate().closed());
  share.Set(10 * kMiB);
  EXPECT_EQ(budget_.gate().wait_us_per_mib, 0u);
}

TEST_F(SpoolBudgetTest, SharesAddUpAndEndWithTheirOwners) {
  SpoolBudget::Share one(&budget_);
  one.Set(600 * kMiB);
  EXPECT_FALSE(budget_.passthrough());
  {
    SpoolBudget::Share two(&budget_);
    two.Set(400 * kMiB);
    EXPECT_TRUE(budget_.gate().closed());
  }
  EXPECT_FALSE(budget_.gate().closed());
  EXPECT_EQ(budget_.used(), 600 * kMiB);
  one.Set(300 * kMiB);
  EXPECT_TRUE(budget_.passthrough());
}

TEST_F(SpoolBudgetTest, ListenersHearOfEveryChangeOnce) {
  int heard = 0;
  bool closed = false;
  budget_.SetOnGate([&](const SpoolBudget::Gate& gate) {
    ++heard;
    closed = gate.closed();
  });
  SpoolBudget::Share share(&budget_);
  share.Set(1000 * kMiB);
  share.Set(1001 * kMiB);
  EXPECT_EQ(heard, 1);
  EXPECT_TRUE(closed);
  share.Set(0);
  EXPECT_EQ(heard, 2);
}

TEST_F(SpoolBudgetTest, ChangesWaitForRoomAndFailWhenThereIsNone) {
  SpoolBudget::Share share(&budget_);
  EXPECT_FALSE(AdmitNow(std::chrono::seconds(60)));
  share.Set(1000 * kMiB);
  const auto error = AdmitNow(std::chrono::seconds(60));
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, ENOSPC);
  share.Set(0);
  EXPECT_FALSE(AdmitNow(std::chrono::seconds(60)));
}

TEST_F(SpoolBudgetTest, LooksMoreOftenTheLessRoomThereIs) {
  SpoolBudget::Share share(&budget_);
  const auto early = budget_.look_every();
  share.Set(800 * kMiB);
  EXPECT_LT(budget_.look_every(), early);
  EXPECT_FALSE(budget_.sealing());
  share.Set(900 * kMiB);
  EXPECT_TRUE(budget_.sealing());
  share.Set(850 * kMiB);
  EXPECT_FALSE(budget_.unsealing());
  share.Set(700 * kMiB);
  EXPECT_TRUE(budget_.unsealing());
}

TEST_F(SpoolBudgetTest, ReserveIsOnDiskUntilItIsUsed) {
  SpoolBudget::Share share(&budget_);
  EXPECT_FALSE(budget_.UseReserve(1));
  share.Reserve(8 * kMiB);
  EXPECT_EQ(budget_.used(), 8 * kMiB);
  EXPECT_EQ(std::filesystem::file_size(temp_ / "reserve"), 8 * kMiB);
  EXPECT_TRUE(budget_.UseReserve(5 * kMiB));
  EXPECT_EQ(std::filesystem::file_size(temp_ / "reserve"), 3 * kMiB);
  EXPECT_TRUE(budget_.UseReserve(5 * kMiB));
  EXPECT_FALSE(budget_.UseReserve(1));
  budget_.Look();
  EXPECT_EQ(std::filesystem::file_size(temp_ / "reserve"), 8 * kMiB);
  share.Reserve(0);
  EXPECT_FALSE(std::filesystem::exists(temp_ / "reserve"));
}

TEST_F(SpoolBudgetTest, ArenasOfSmallSpoolsAreSmall) {
  EXPECT_EQ(budget_.ArenaBytes(), 1000 * kMiB / 32 / 4096 * 4096);
  SpoolBudget tiny(loop_.get_executor(), temp_.path(), temp_ / "other",
                   {kMiB, std::chrono::milliseconds(1)});
  EXPECT_EQ(tiny.ArenaBytes(), shm::kMinArenaBytes);
}

}  // namespace
}  // namespace airstore::broker
