// SPDX-License-Identifier: Apache-2.0
//
// Two hosts under load at three gateways on one Redis and S3, each host with the addresses of all:
// gateways are killed, before a commit, behind it and at any time, Redis is killed and started
// again, S3 is away. Nobody sees an error, what was acknowledged is there, and nothing happens
// twice (a creation or a rename that did would say so). Only with AIRSTORE_TEST_STORE=scaled.
#include <sys/stat.h>

#include <iostream>
#include <random>
#include <thread>

#include "tests/e2e/support/environment.h"
#include "tests/e2e/support/host_test.h"
#include "tests/e2e/support/other_broker.h"
#include "tests/fault/ack_log.h"
#include "tests/fault/switchboard.h"
#include "tests/fault/tree_process.h"
#include "tests/unit/gateway/faulty_proxy.h"

namespace airstore::fault {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class GatewaysKill : public e2e::HostTest {
 protected:
  using Loads = std::vector<std::unique_ptr<Load>>;

  e2e::HostOptions Options() const override {
    e2e::HostOptions options;
    options.environment = {{"AIRSTORE_FAULT", board_.path()}};
    options.s3_endpoint = "http://127.0.0.1:" + std::to_string(s3_->port());
    options.patience += seconds(60 * e2e::EnvOr("AIRSTORE_FAULT_ROUNDS", 0));
    return options;
  }
  void SetUp() override {
    if (!e2e::Scaled()) GTEST_SKIP() << "only with AIRSTORE_TEST_STORE=scaled";
    // What waits longer than that is told an error, as it should.
    const std::string patience = std::to_string(60 + 2 * S3Seconds());
    setenv(e2e::kBrokerArguments, ("--io-timeout " + patience + "s").c_str(), 1);
    std::string why;
    const e2e::S3Server* service = e2e::S3Server::Get(&why);
    if (service == nullptr) GTEST_SKIP() << why;
    const std::string& endpoint = service->endpoint();
    s3_ =
        std::make_unique<gateway::FaultyProxy>(std::stoi(endpoint.substr(endpoint.rfind(':') + 1)));
    HostTest::SetUp();
  }
  static uint64_t S3Seconds() { return e2e::EnvOr("AIRSTORE_FAULT_S3_SECONDS", 2); }
  Loads StartLoads(const std::string& mount, const std::string& name, uint64_t seed) {
    const std::string directory = mount + "/" + name;
    EXPECT_EQ(mkdir(directory.c_str(), 0755), 0) << strerror(errno);
    Loads loads;
    loads.push_back(MakeTreeProcess(directory, host().Path(name + "-tree"), seed, true));
    for (const char* kind : {"manifest", "blocks"}) {
      loads.push_back(MakeLoggedLoad(kind, directory, host().Path(name + "-" + kind), seed, true));
    }
    for (const auto& load : loads) load->Start();
    return loads;
  }
  static uint64_t Acknowledged(const Loads& loads) {
    uint64_t sum = 0;
    for (const auto& load : loads) sum += load->acknowledged();
    return sum;
  }
  // Ends, in one way or another; and is there again.
  std::string Disturb(uint64_t round, std::mt19937_64& random) {
    uint64_t kind = random() % 6;
    // Long outages of S3 are few: one in thirty rounds.
    if (S3Seconds() >= 10 && kind == 1) kind = 2;
    if (S3Seconds() >= 10 && round % 30 == 15) kind = 1;
    if (kind == 0) {
      host().redis()->Kill();
      std::this_thread::sleep_for(milliseconds(random() % 500));
      host().redis()->Start();
      ++redis_kills_;
      return "Redis";
    }
    if (kind == 1) {
      const int before = s3_->hit();
      s3_->Break(true);
      std::this_thread::sleep_for(seconds(S3Seconds()));
      s3_->Break(false);
      ++outages_;
      return "S3 (" + std::to_string(s3_->hit() - before) + " requests)";
    }
    ++gateway_kills_;
    if (kind > 3) {
      const size_t which = random() % kGateways;
      host().KillGateway(which);
      std::this_thread::sleep_for(milliseconds(random() % 1000));
      host().StartGateway(which);
      return "gateway " + std::to_string(which);
    }
    // Whichever comes there next.
    const auto point =
        random() % 2 == 0 ? FaultPoint::kGatewayBeforeCommit : FaultPoint::kGatewayAfterCommit;
    board_.Arm(point, FaultAction::kKill, 0, 0, 1);
    std::vector<size_t> dead;
    const bool hit = e2e::WaitUntil(seconds(10), [&] {
      for (size_t number = 0; number < kGateways; ++number) {
        if (!host().GatewayRuns(number)) dead.push_back(number);
      }
      return !dead.empty();
    });
    board_.Disarm(point);
    for (const size_t number : dead) host().StartGateway(number);
    if (!hit) --gateway_kills_;
    return "gateway " + (hit ? std::to_string(dead.front()) : "") + " at " +
           (point == FaultPoint::kGatewayAfterCommit ? "after" : "before") + " a commit" +
           (hit ? "" : ", which did not come");
  }

  static constexpr size_t kGateways = 3;
  int gateway_kills_ = 0, redis_kills_ = 0, outages_ = 0;
  std::unique_ptr<gateway::FaultyProxy> s3_;
  Switchboard board_;
};

TEST_F(GatewaysKill, NothingIsLostOrDoneTwiceWhateverDies) {
  const uint64_t rounds = e2e::EnvOr("AIRSTORE_FAULT_ROUNDS", 4);
  const uint64_t seed = e2e::EnvOr("AIRSTORE_FAULT_SEED", std::random_device{}() % 100'000);
  std::cout << "seed " << seed << ", " << rounds << " rounds\n";
  std::mt19937_64 random(seed);
  host().CreateWorkspace("work");
  const std::string all = host().gateway_addresses();
  const std::string here = host().Mount("work", "here", {"--gateway", all});
  e2e::OtherBroker other(host());
  const std::string there = other.Mount("work", "there", {"--gateway", all});
  const Loads mine = StartLoads(here, "mine", seed), theirs = StartLoads(there, "theirs", seed + 1);
  for (uint64_t round = 0; round < rounds && !HasFailure(); ++round) {
    const uint64_t before = Acknowledged(mine), others = Acknowledged(theirs);
    const std::string what = Disturb(round, random);
    EXPECT_TRUE(e2e::WaitUntil(
        seconds(60),
        [&] { return Acknowledged(mine) > before + 10 && Acknowledged(theirs) > others + 10; }))
        << "the hosts do not go on after: " << what;
    std::cout << "round " << round << ": " << what << ", " << Acknowledged(mine) << " + "
              << Acknowledged(theirs) << " acknowledged\n";
  }
  std::cout << gateway_kills_ << " gateways killed, Redis " << redis_kills_ << " times, S3 away "
            << outages_ << " times for " << S3Seconds() << " s\n";
  for (const Loads* loads : {&mine, &theirs}) {
    for (const auto& load : *loads) load->Join();
    for (const auto& load : *loads) {
      for (const LoadError& error : load->errors()) {
        ADD_FAILURE() << load->name() << ": " << error.what;
      }
    }
  }
  // On the other host, and through empty caches.
  const auto check = [&](const std::string& mount) {
    for (const auto& load : mine) {
      EXPECT_EQ(load->Check(mount + "/mine", Kept::kAcknowledged), "") << load->name();
    }
    for (const auto& load : theirs) {
      EXPECT_EQ(load->Check(mount + "/theirs", Kept::kAcknowledged), "") << load->name();
    }
  };
  check(here);
  check(there);
  other.Unmount(there);
  check(host().RemountFresh("work", here, {"--gateway", all}));
}

}  // namespace
}  // namespace airstore::fault
