// SPDX-License-Identifier: Apache-2.0
//
// What the gateway refuses for good while its workspace is mounted: it is kept, said, and can be
// had; and nothing else suffers.
#include <fcntl.h>
#include <unistd.h>

#include "tests/e2e/support/host_test.h"
#include "tests/e2e/support/other_broker.h"

namespace airstore::e2e {
namespace {

using std::chrono::seconds;

class Refused : public HostTest {
 protected:
  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    host().CreateWorkspace("work");
    here_ = host().Mount("work", "here");
  }
  std::string Here(const std::string& name) const { return here_ + "/" + name; }
  const std::string& here() const { return here_; }
  nlohmann::json Lost() { return host().AirctlJson({"recover"}).at("items"); }

 private:
  std::string here_;
};

class Conflict : public Refused {
 protected:
  // Two hosts write one file; ours is the one whose version is refused.
  void LoseTo(const std::string& theirs) {
    other_ = std::make_unique<OtherBroker>(host());
    const std::string there = other_->Mount("work", "there");
    mine_ = Open(Here("dir/file"), O_RDWR);
    WriteAt(mine_.get(), std::string(1000, 'm'), 0);
    WriteFile(there + "/dir/file", theirs);
  }
  UniqueFd& mine() { return mine_; }

 private:
  std::unique_ptr<OtherBroker> other_;
  UniqueFd mine_;
};

TEST_F(Conflict, TheOtherVersionIsKeptInLostAndFound) {
  ASSERT_EQ(mkdir(Here("dir").c_str(), 0755), 0);
  const std::string original = RandomBytes(1, 300'000);
  WriteFile(Here("dir/file"), original);
  LoseTo("theirs");
  std::string expected = original;
  expected.replace(0, 1000, std::string(1000, 'm'));

  EXPECT_EQ(ErrnoOf(fsync(mine().get())), ESTALE);
  ASSERT_TRUE(WaitUntil(seconds(10), [&] { return Lost().size() == 1; }));
  const nlohmann::json item = Lost().at(0);
  EXPECT_EQ(item.at("path"), "/dir/file");
  EXPECT_EQ(item.at("workspace"), "work");
  EXPECT_EQ(item.at("what"), "content");
  EXPECT_EQ(item.at("error"), ESTALE);
  EXPECT_EQ(item.at("bytes"), expected.size());
  EXPECT_GT(item.at("time_ns").get<int64_t>(), 0);
  EXPECT_EQ(host().Status().at("broker").at("lost_items"), 1);
  // Whoever has it open goes on with what it wrote.
  EXPECT_EQ(ReadSome(mine().get(), 1000, 0), std::string(1000, 'm'));

  // It is neither sent again nor in the way of anything.
  mine().reset();
  EXPECT_TRUE(WaitUntil(seconds(10), [&] { return ReadFile(Here("dir/file")) == "theirs"; }));
  EXPECT_EQ(host().AirctlJson({"dirty"}).at("files").size(), 0u);
  host().Unmount(here());
  EXPECT_EQ(host().Status().at("sessions").size(), 0u);

  const std::string id = item.at("id").get<std::string>();
  const std::string to = host().Path("exported");
  EXPECT_EQ(host().Airctl({"recover", "--export", id, to}).code, 0);
  EXPECT_TRUE(ReadFile(to + "/" + id + "-file") == expected);
  EXPECT_EQ(host().Airctl({"recover", "--export", "--all", to}).code, 9) << "it is there already";
  EXPECT_EQ(host().Airctl({"recover", "--export", "12345678", to}).code, 3);
  EXPECT_EQ(host().Airctl({"recover", "--discard", id}).code, 0);
  EXPECT_EQ(Lost().size(), 0u);
  EXPECT_FALSE(Exists(host().Path("state/spool/lost+found/") + id));
}

TEST_F(Conflict, AnotherTryReplacesWhatWasKept) {
  ASSERT_EQ(mkdir(Here("dir").c_str(), 0755), 0);
  WriteFile(Here("dir/file"), std::string(300'000, 'o'));
  LoseTo("theirs");
  EXPECT_EQ(ErrnoOf(fsync(mine().get())), ESTALE);
  ASSERT_TRUE(WaitUntil(seconds(10), [&] { return Lost().size() == 1; }));
  WriteAt(mine().get(), "more", 5000);
  EXPECT_EQ(ErrnoOf(fsync(mine().get())), ESTALE);
  const auto kept = [&] {
    const nlohmann::json items = Lost();
    return items.size() == 1 &&
           ReadFile(items[0].at("location").get<std::string>()).substr(5000, 4) == "more";
  };
  EXPECT_TRUE(WaitUntil(seconds(10), kept));
}

TEST_F(Conflict, AnotherBrokerKeepsItOnceOnly) {
  ASSERT_EQ(mkdir(Here("dir").c_str(), 0755), 0);
  WriteFile(Here("dir/file"), std::string(300'000, 'o'));
  LoseTo("theirs");
  EXPECT_EQ(ErrnoOf(fsync(mine().get())), ESTALE);
  ASSERT_TRUE(WaitUntil(seconds(10), [&] { return Lost().size() == 1; }));
  const nlohmann::json before = Lost();
  const auto settled = [&] {
    const nlohmann::json session = host().SessionStatus("work");
    return session.at("pending_mutations") == 0 && session.at("dirty_bytes") == 0;
  };
  // Open in another process: ours starts others, which close it, and that waits for a broker.
  Process holder({"/bin/sh", "-c", "exec 3<>\"$0\"; echo > \"$1\"; sleep 600", Here("dir/file"),
                  host().Path("held")});
  ASSERT_TRUE(WaitUntil(seconds(10), [&] { return Exists(host().Path("held")); }));
  mine().reset();
  for (int round = 0; round < 2; ++round) {
    host().KillBroker();
    host().StartBroker();
    ASSERT_TRUE(WaitUntil(seconds(20), settled));
    ASSERT_EQ(Lost().size(), 1u) << Lost();
    EXPECT_EQ(Lost().at(0).at("id"), before.at(0).at("id"));
  }
  mine() = Open(Here("dir/file"), O_RDWR);
  EXPECT_EQ(ReadSome(mine().get(), 1000, 0), std::string(1000, 'm'));
  // What is written now is another version.
  WriteAt(mine().get(), "more", 5000);
  EXPECT_EQ(ErrnoOf(fsync(mine().get())), ESTALE);
  host().KillBrokerAndMounts();
  host().StartBroker();
  ASSERT_TRUE(WaitUntil(seconds(60), [&] { return host().Status().at("sessions").empty(); }));
  size_t newer = 0;
  for (const auto& item : Lost()) {
    newer += ReadFile(item.at("location").get<std::string>()).substr(5000, 4) == "more" ? 1 : 0;
  }
  EXPECT_EQ(newer, 1u);
}

TEST_F(Refused, TokenThatIsRevokedKeepsWhatIsUnsentUntilThereIsAnother) {
  host().CreateWorkspace("other");
  const std::string elsewhere = host().Mount("other", "elsewhere");
  WriteFile(Here("sent"), std::string(200'000, 's'));
  EXPECT_EQ(NamesIn(here()).size(), 1u);  // from here on no name needs a question
  EXPECT_EQ(host().Airctl({"flush"}).code, 0);
  const nlohmann::json tokens =
      host().AirctlJson({"token", "list", "work", "--gateway", host().gateway_address(),
                         "--token-file", host().admin_token_file()});
  const std::string id = tokens.at("tokens").at(0).at("id").get<std::string>();
  EXPECT_EQ(host()
                .Airctl({"token", "revoke", id, "--gateway", host().gateway_address(),
                         "--token-file", host().admin_token_file()})
                .code,
            0);
  WriteFile(Here("unsent"), "kept");
  EXPECT_TRUE(WaitUntil(seconds(30),
                        [&] { return host().SessionStatus("work").at("state") == "refused"; }));
  EXPECT_NE(host().SessionStatus("work").at("last_error").get<std::string>().find("token"),
            std::string::npos);
  EXPECT_NE(host().Airctl({"status"}).out.find("with a valid token"), std::string::npos);
  EXPECT_EQ(host().AirctlJson({"dirty", here()}).at("files").size(), 1u);
  EXPECT_EQ(host().Airctl({"flush", here(), "--timeout", "1"}).code, 8);
  // Nobody else notices.
  WriteFile(elsewhere + "/file", "fine");
  EXPECT_EQ(host().Airctl({"flush", elsewhere}).code, 0);
  EXPECT_EQ(host().SessionStatus("other").at("state"), "connected");

  const std::string token = host().Path("another.token");
  host().CreateToken("work", token);
  const Finished mounted = host().Airctl({"mount", here(), "--token-file", token});
  EXPECT_EQ(mounted.code, 0) << mounted.All();
  EXPECT_EQ(host().Airctl({"flush", here(), "--timeout", "30"}).code, 0);
  EXPECT_EQ(host().SessionStatus("work").at("state"), "connected");
  host().Unmount(here());
  host().StopBroker();
  host().WipeBrokerState();
  host().StartBroker();
  const std::string again = host().MountWith(token, "again", {});
  EXPECT_EQ(ReadFile(again + "/unsent"), "kept");
  host().Unmount(again);
}

TEST_F(Refused, WhatIsUnmountedByForceIsSentLaterAndItsSessionEnds) {
  EXPECT_EQ(NamesIn(here()).size(), 0u);
  host().FreezeGateway();
  WriteFile(Here("late"), "arrives");
  const Finished forced = host().Airctl({"unmount", "--force", here()});
  EXPECT_EQ(forced.code, 0) << forced.All();
  EXPECT_NE(forced.err.find("not at the gateway yet"), std::string::npos) << forced.All();
  EXPECT_EQ(host().Status().at("sessions").size(), 1u);
  host().ThawGateway();
  EXPECT_TRUE(WaitUntil(seconds(60), [&] { return host().Status().at("sessions").size() == 0u; }));
  const std::string again = host().Mount("work", "again");
  EXPECT_EQ(ReadFile(again + "/late"), "arrives");
}

}  // namespace
}  // namespace airstore::e2e
