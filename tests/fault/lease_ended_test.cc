// SPDX-License-Identifier: Apache-2.0
//
// A broker dies with the write lease, which ends before there is another one, and another host
// changes the same file meanwhile. Both were told that their change is made: the first one at the
// gateway stands, the other one is kept. And nobody is in conflict with what he sent himself.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <future>
#include <string>
#include <vector>

#include "tests/e2e/support/host_test.h"
#include "tests/e2e/support/other_broker.h"
#include "tests/fault/switchboard.h"

namespace airstore::fault {
namespace {

using e2e::ErrnoOf;
using std::chrono::seconds;

class LeaseEnded : public e2e::MountTest, public testing::WithParamInterface<bool> {
 protected:
  e2e::HostOptions Options() const override {
    return {.gateway_arguments = {"--session-seconds", "3"},
            .environment = {{"AIRSTORE_FAULT", board_.path()}}};
  }
  static bool adopted() { return GetParam(); }
  nlohmann::json Lost() { return host().AirctlJson({"recover"}).at("items"); }
  // In place: nothing but content changes.
  static void Write(const std::string& path, const std::string& content) {
    const UniqueFd file = e2e::Open(path, O_RDWR);
    e2e::WriteAt(file.get(), content, 0);
  }
  // As an editor saves.
  void SaveOver(const std::string& name, const std::string& content) {
    const std::string fresh = At(name + ".new");
    e2e::WriteFile(fresh, content);
    ASSERT_EQ(rename(fresh.c_str(), At(name).c_str()), 0);
  }
  bool Settled() {
    const nlohmann::json status = host().Status();
    for (const auto& session : status.at("sessions")) {
      if (session.at("state") == "recovering" ||
          session.at("pending_mutations").get<uint64_t>() != 0 ||
          session.at("dirty_bytes").get<uint64_t>() != 0) {
        return false;
      }
    }
    return true;
  }

  Switchboard board_;
};

TEST_P(LeaseEnded, TheFirstAtTheGatewayStandsAndTheOtherIsKept) {
  const std::string original = e2e::RandomBytes(1, 200'000);
  const std::string theirs = e2e::RandomBytes(2, 200'000);
  const std::string ours = e2e::RandomBytes(3, 200'000);
  e2e::WriteFile(At("file"), original);
  e2e::WriteFile(At("quiet"), original);
  Write(At("file"), original.substr(0, 1000));  // the second version
  ASSERT_TRUE(e2e::WaitUntil(seconds(20), [&] { return Settled(); }));
  ASSERT_TRUE(host().SessionStatus("work").at("write_lease"));
  if (adopted()) {
    host().KillBroker();
  } else {
    host().FreezeGateway();
    Write(At("file"), ours);
    Write(At("quiet"), ours);
    e2e::WriteFile(At("new"), ours);
    host().KillBrokerAndMounts();
    host().ThawGateway();
  }
  e2e::OtherBroker other(host());
  const std::string there = other.Mount("work", "there");
  Write(there + "/file", theirs);
  if (adopted()) {
    host().FreezeGateway();  // so that the lease is believed in
    host().StartBroker();
    Write(At("file"), ours);
    Write(At("quiet"), ours);
    e2e::WriteFile(At("new"), ours);
    host().ThawGateway();
  } else {
    host().StartBroker();
  }
  ASSERT_TRUE(e2e::WaitUntil(seconds(60), [&] { return Settled() && Lost().size() == 1; }))
      << Lost();
  const nlohmann::json item = Lost().at(0);
  EXPECT_EQ(item.at("what"), "content");
  EXPECT_EQ(item.at("error"), ESTALE);
  EXPECT_TRUE(e2e::ReadFile(item.at("location").get<std::string>()) == ours);
  const std::string fresh = other.RemountFresh("work", there);
  EXPECT_TRUE(e2e::ReadFile(fresh + "/file") == theirs);
  EXPECT_TRUE(e2e::ReadFile(fresh + "/quiet") == ours);
  EXPECT_TRUE(e2e::ReadFile(fresh + "/new") == ours);
  if (adopted()) {
    EXPECT_TRUE(e2e::WaitUntil(seconds(10), [&] { return e2e::ReadFile(At("file")) == theirs; }));
  }
}

// Nobody waits for a cut under the lease; who has made it learns of it when he asks whether it is
// kept.
TEST_P(LeaseEnded, ARefusedCutIsTheErrorOfTheNextFsync) {
  if (!adopted()) GTEST_SKIP() << "nobody has the file open any more";
  const std::string theirs = e2e::RandomBytes(2, 200'000);
  e2e::WriteFile(At("file"), e2e::RandomBytes(1, 200'000));
  ASSERT_TRUE(e2e::WaitUntil(seconds(20), [&] { return Settled(); }));
  ASSERT_TRUE(host().SessionStatus("work").at("write_lease"));
  host().KillBroker();
  e2e::OtherBroker other(host());
  const std::string there = other.Mount("work", "there");
  Write(there + "/file", theirs);
  host().FreezeGateway();  // so that the lease is believed in
  host().StartBroker();
  const UniqueFd file = e2e::Open(At("file"), O_RDONLY);
  ASSERT_EQ(truncate(At("file").c_str(), 100), 0) << strerror(errno);
  host().ThawGateway();
  ASSERT_TRUE(e2e::WaitUntil(seconds(60), [&] { return Settled() && Lost().size() == 1; }))
      << Lost();
  EXPECT_EQ(Lost().at(0).at("what"), "setattr");
  EXPECT_EQ(ErrnoOf(fsync(file.get())), ESTALE);
  EXPECT_EQ(ErrnoOf(fsync(file.get())), 0);
  EXPECT_TRUE(e2e::WaitUntil(seconds(10), [&] { return e2e::ReadFile(At("file")) == theirs; }));
}

// Neither by a file that takes its name, nor by removing it, nor by a name that was free.
TEST_P(LeaseEnded, WhatAnotherHostHasMadeIsNotReplacedOrRemoved) {
  const std::string original = e2e::RandomBytes(1, 200'000);
  const std::string theirs = e2e::RandomBytes(2, 200'000);
  const std::string ours = e2e::RandomBytes(3, 200'000);
  for (const char* name : {"saved", "removed", "moved", "quiet", "gone"}) {
    e2e::WriteFile(At(name), original);
  }
  ASSERT_TRUE(e2e::WaitUntil(seconds(20), [&] { return Settled(); }));
  ASSERT_TRUE(host().SessionStatus("work").at("write_lease"));
  const auto change = [&] {
    for (const char* name : {"saved", "quiet", "free"}) SaveOver(name, ours);
    for (const char* name : {"removed", "gone"}) ASSERT_EQ(unlink(At(name).c_str()), 0);
    ASSERT_EQ(rename(At("moved").c_str(), At("elsewhere").c_str()), 0);
  };
  if (adopted()) {
    host().KillBroker();
  } else {
    host().FreezeGateway();
    change();
    host().KillBrokerAndMounts();
    host().ThawGateway();
  }
  e2e::OtherBroker other(host());
  const std::string there = other.Mount("work", "there");
  Write(there + "/saved", theirs);
  Write(there + "/removed", theirs);
  e2e::WriteFile(there + "/free", theirs);
  ASSERT_EQ(unlink((there + "/moved").c_str()), 0);
  e2e::WriteFile(there + "/moved", theirs);
  if (adopted()) {
    host().FreezeGateway();  // so that the lease is believed in
    host().StartBroker();
    change();
    host().ThawGateway();
  } else {
    host().StartBroker();
  }
  ASSERT_TRUE(e2e::WaitUntil(seconds(60), [&] { return Settled() && Lost().size() == 4; }))
      << Lost();
  const std::string fresh = other.RemountFresh("work", there);
  for (const char* name : {"saved", "removed", "free", "moved"}) {
    EXPECT_TRUE(e2e::ReadFile(fresh + "/" + name) == theirs) << name;
  }
  EXPECT_FALSE(e2e::Exists(fresh + "/elsewhere"));
  for (const char* name : {"saved.new", "free.new", "quiet"}) {
    EXPECT_TRUE(e2e::ReadFile(fresh + "/" + name) == ours) << name;
  }
  EXPECT_FALSE(e2e::Exists(fresh + "/gone"));
  if (adopted()) {
    EXPECT_TRUE(e2e::WaitUntil(seconds(10), [&] { return e2e::ReadFile(At("saved")) == theirs; }));
  }
}

// Nor when what was written here before it is still to be sent.
TEST_P(LeaseEnded, UnsentContentGoesWithItsFileAndNothingElseDoes) {
  const std::string original = e2e::RandomBytes(1, 200'000);
  const std::string theirs = e2e::RandomBytes(2, 200'000);
  const std::string ours = e2e::RandomBytes(3, 200'000);
  const std::vector<std::string> names = {"saved", "removed", "quiet", "gone"};
  for (const std::string& name : names) e2e::WriteFile(At(name), original);
  ASSERT_TRUE(e2e::WaitUntil(seconds(20), [&] { return Settled(); }));
  ASSERT_TRUE(host().SessionStatus("work").at("write_lease"));
  const auto change = [&] {
    for (const char* name : {"saved", "quiet"}) SaveOver(name, ours);
    for (const char* name : {"removed", "gone"}) ASSERT_EQ(unlink(At(name).c_str()), 0);
  };
  host().FreezeGateway();
  for (const std::string& name : names) Write(At(name), "unsent");
  if (adopted()) {
    host().KillBroker();
  } else {
    change();
    host().KillBrokerAndMounts();
  }
  host().ThawGateway();
  e2e::OtherBroker other(host());
  const std::string there = other.Mount("work", "there");
  Write(there + "/saved", theirs);
  Write(there + "/removed", theirs);
  if (adopted()) {
    host().FreezeGateway();  // so that the lease is believed in
    host().StartBroker();
    change();
    host().ThawGateway();
  } else {
    host().StartBroker();
  }
  ASSERT_TRUE(e2e::WaitUntil(seconds(60), [&] { return Settled() && Lost().size() == 2; }))
      << Lost();
  const std::string fresh = other.RemountFresh("work", there);
  EXPECT_TRUE(e2e::ReadFile(fresh + "/saved") == theirs);
  EXPECT_TRUE(e2e::ReadFile(fresh + "/removed") == theirs);
  EXPECT_TRUE(e2e::ReadFile(fresh + "/saved.new") == ours);
  EXPECT_TRUE(e2e::ReadFile(fresh + "/quiet") == ours);
  EXPECT_FALSE(e2e::Exists(fresh + "/gone"));
}

// The gateway has taken content, and the broker dies before it knows.
TEST_P(LeaseEnded, NobodyIsInConflictWithHimself) {
  const std::string content = e2e::RandomBytes(4, 200'000);
  e2e::OtherBroker other(host());
  const std::string there = other.Mount("work", "there");
  e2e::WriteFile(At("file"), content);
  ASSERT_TRUE(e2e::WaitUntil(seconds(20), [&] { return Settled(); }));
  ASSERT_FALSE(host().SessionStatus("work").at("write_lease"));
  std::string expected = content;
  for (int round = 0; round < 3; ++round) {
    SCOPED_TRACE(round);
    const std::string piece = "round " + std::to_string(round);
    const auto frontends = host().FrontendPids();
    UniqueFd file = e2e::Open(At("file"), O_RDWR);
    const uint64_t fired = board_.fired(FaultPoint::kLogBatchAnswered);
    board_.Arm(FaultPoint::kLogBatchAnswered, FaultAction::kKill, 0, 0, 1);
    // The close waits for the gateway. Nobody else may have the descriptor: not to wait likewise.
    std::future<int> closed = std::async(std::launch::async, [&] {
      e2e::WriteAt(file.get(), piece, round * 1000);
      return ErrnoOf(close(file.release()));
    });
    expected.replace(static_cast<size_t>(round) * 1000, piece.size(), piece);
    ASSERT_TRUE(e2e::WaitUntil(seconds(10), [&] { return !host().BrokerRuns(); }));
    EXPECT_GT(board_.fired(FaultPoint::kLogBatchAnswered), fired);
    board_.Disarm(FaultPoint::kLogBatchAnswered);
    host().KillBroker();
    if (adopted()) {
      host().StartBroker();
      EXPECT_EQ(closed.get(), 0);
    } else {
      for (const pid_t frontend : frontends) kill(frontend, SIGKILL);
      closed.wait();
      host().StartBroker();
      host().Mount("work", "mnt");
    }
    EXPECT_TRUE(e2e::ReadFile(At("file")) == expected);
    EXPECT_EQ(Lost().size(), 0u) << Lost();
  }
  const std::string fresh = other.RemountFresh("work", there);
  EXPECT_TRUE(e2e::ReadFile(fresh + "/file") == expected);
}

// The host sleeps, or has no broker. The lease that it gets back says nothing about what it did
// before.
TEST_P(LeaseEnded, WhatWasWrittenMeanwhileDoesNotOverwrite) {
  const std::string original = e2e::RandomBytes(1, 200'000);
  const std::string theirs = e2e::RandomBytes(2, 200'000);
  e2e::WriteFile(At("file"), original);
  ASSERT_TRUE(e2e::WaitUntil(seconds(20), [&] { return Settled(); }));
  ASSERT_TRUE(host().SessionStatus("work").at("write_lease"));
  UniqueFd file = e2e::Open(At("file"), O_RDWR);
  if (adopted()) {
    host().KillBroker();
  } else {
    host().broker().Signal(SIGSTOP);
  }
  {
    e2e::OtherBroker other(host());
    const std::string there = other.Mount("work", "there");
    Write(there + "/file", theirs);
    other.Unmount(there);
    other.Stop();
  }
  e2e::WriteAt(file.get(), e2e::RandomBytes(3, 5000), 100'000);
  if (adopted()) {
    host().StartBroker();
  } else {
    host().broker().Signal(SIGCONT);
  }
  close(file.release());
  ASSERT_TRUE(e2e::WaitUntil(seconds(60), [&] { return Settled() && Lost().size() == 1; }))
      << Lost();
  EXPECT_EQ(Lost().at(0).at("error"), ESTALE);
  RemountFresh();
  EXPECT_TRUE(e2e::ReadFile(At("file")) == theirs);
}

// Everything here dies when the gateway has refused it under that lease, before it is kept.
class LeaseEndedTwice : public LeaseEnded {};

TEST_P(LeaseEndedTwice, ARecoveryDoesNotOverwriteEither) {
  const std::string original = e2e::RandomBytes(1, 200'000);
  const std::string theirs = e2e::RandomBytes(2, 200'000);
  e2e::WriteFile(At("file"), original);
  ASSERT_TRUE(e2e::WaitUntil(seconds(20), [&] { return Settled(); }));
  UniqueFd file = e2e::Open(At("file"), O_RDWR);
  const auto frontends = host().FrontendPids();
  host().broker().Signal(SIGSTOP);
  {
    e2e::OtherBroker other(host());
    const std::string there = other.Mount("work", "there");
    Write(there + "/file", theirs);
    other.Unmount(there);
    other.Stop();
  }
  e2e::WriteAt(file.get(), e2e::RandomBytes(3, 5000), 100'000);
  const uint64_t fired = board_.fired(FaultPoint::kLogBatchAnswered);
  board_.Arm(FaultPoint::kLogBatchAnswered, FaultAction::kKill, 0, 0, 1);
  host().broker().Signal(SIGCONT);
  ASSERT_TRUE(e2e::WaitUntil(seconds(20), [&] { return !host().BrokerRuns(); }));
  EXPECT_GT(board_.fired(FaultPoint::kLogBatchAnswered), fired);
  board_.Disarm(FaultPoint::kLogBatchAnswered);
  host().KillBroker();
  for (const pid_t frontend : frontends) kill(frontend, SIGKILL);
  file.reset();
  host().StartBroker();
  ASSERT_TRUE(e2e::WaitUntil(seconds(60), [&] { return Settled() && Lost().size() == 1; }))
      << Lost();
  EXPECT_EQ(Lost().at(0).at("error"), ESTALE);
  e2e::OtherBroker other(host());
  EXPECT_TRUE(e2e::ReadFile(other.Mount("work", "there") + "/file") == theirs);
}

INSTANTIATE_TEST_SUITE_P(, LeaseEndedTwice, testing::Values(false));
INSTANTIATE_TEST_SUITE_P(, LeaseEnded, testing::Bool(),
                         [](const auto& mode) { return mode.param ? "Adopted" : "Replayed"; });

}  // namespace
}  // namespace airstore::fault
