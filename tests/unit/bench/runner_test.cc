// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/runner.h"

#include <gtest/gtest.h>

namespace airstore::bench {
namespace {

// Records the turns it is given; its value is the number of the turn.
class Recorder final : public Workload {
 public:
  explicit Recorder(std::string unavailable) : unavailable_(std::move(unavailable)) {}
  const char* name() const override { return "recorder"; }
  const char* unit() const override { return "op/s"; }
  std::string unavailable() const override { return unavailable_; }
  Result<void> Prepare(const Target& target) override {
    turns.push_back("prepare " + target.name);
    return {};
  }
  Result<double> Run(const Target& target, unsigned round) override {
    if (fail) return Error{EIO, "wrong data"};
    turns.push_back(std::to_string(round) + " " + target.name);
    return static_cast<double>(turns.size());
  }

  std::vector<std::string> turns;
  bool fail = false;

 private:
  const std::string unavailable_;
};

struct Bench {
  explicit Bench(const std::string& unavailable = {}) {
    workloads.push_back(std::make_unique<Recorder>(unavailable));
    options.rounds = 2;
    options.stopped = [] { return false; };
    options.progress = [](const std::string&) {};
  }
  Recorder& recorder() { return static_cast<Recorder&>(*workloads.front()); }
  Result<std::vector<WorkloadResult>> operator()() {
    return RunWorkloads(options, {{"a", "/tmp", false}, {"b", "/tmp", false}}, workloads);
  }

  RunnerOptions options;
  std::vector<std::unique_ptr<Workload>> workloads;
};

TEST(Runner, RotatesWhoGoesFirst) {
  EXPECT_EQ(TurnsOfRound(3, 0), (std::vector<size_t>{0, 1, 2}));
  EXPECT_EQ(TurnsOfRound(3, 1), (std::vector<size_t>{1, 2, 0}));
  EXPECT_EQ(TurnsOfRound(3, 5), (std::vector<size_t>{2, 0, 1}));
}

TEST(Runner, InterleavesTargetsWithinEachRound) {
  Bench bench;
  auto results = bench();
  ASSERT_TRUE(results);
  EXPECT_EQ(bench.recorder().turns,
            (std::vector<std::string>{"prepare a", "prepare b", "0 a", "0 b", "1 b", "1 a"}));
  EXPECT_EQ(results->front().values.at("a"), (std::vector<double>{3, 6}));
}

TEST(Runner, NamesWorkloadAndTargetOfAnError) {
  Bench bench;
  bench.recorder().fail = true;
  auto results = bench();
  ASSERT_FALSE(results);
  EXPECT_NE(results.error().message.find("recorder on a: wrong data"), std::string::npos);
}

TEST(Runner, SaysWhyAWorkloadWasSkipped) {
  Bench bench("needs a moon");
  auto results = bench();
  ASSERT_TRUE(results);
  EXPECT_EQ(results->front().skipped, "needs a moon");
  EXPECT_TRUE(results->front().values.empty());
}

TEST(Runner, StopsBetweenMeasurements) {
  Bench bench;
  bench.options.stopped = [&bench] { return bench.recorder().turns.size() >= 3; };
  auto results = bench();
  ASSERT_FALSE(results);
  EXPECT_EQ(results.error().code, EINTR);
  EXPECT_EQ(bench.recorder().turns.size(), 3U);
}

}  // namespace
}  // namespace airstore::bench
