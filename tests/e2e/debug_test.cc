// SPDX-License-Identifier: Apache-2.0
//
// What is read without the broker, and what airctl does in a mount by itself.
#include <signal.h>

#include <filesystem>

#include "tests/e2e/support/host_test.h"

namespace airstore::e2e {
namespace {

using std::chrono::seconds;

class Debug : public MountTest {
 protected:
  nlohmann::json Look(const std::string& what) {
    const Finished said = host().Airctl({"--json", "debug", what}, {.patience = seconds(60)});
    EXPECT_EQ(said.code, 0) << said.All();
    return nlohmann::json::parse(said.out);
  }
};

TEST_F(Debug, ReadsWhatABrokerHasThatHangs) {
  WriteFile(At("before"), "content");
  (void)host().AirctlJson({"flush"});
  EXPECT_EQ(NamesIn(mount()).size(), 1u);  // whole: what is not there is known
  host().KillGateway();
  for (int i = 0; i < 10; ++i) WriteFile(At(std::to_string(i)), RandomBytes(1, 100'000));
  ASSERT_TRUE(WaitUntil(seconds(30), [&] {
    return host().SessionStatus("work").at("pending_mutations").get<int>() >= 10;
  }));
  host().broker().Signal(SIGSTOP);
  // A spool's copy of a program is shared by its links, with the copies of other brokers.
  const auto look = [this] {
    auto entries = Tree(host().Path("state"));
    std::erase_if(entries, [](const auto& entry) {
      return entry.first.find("/program-") != std::string::npos;
    });
    return entries;
  };
  const auto before = look();
  const auto spool = Look("spool");
  const auto journal = Look("journal");
  const auto shm = Look("shm");
  const auto after = look();
  host().broker().Signal(SIGCONT);
  EXPECT_EQ(Difference(before, after), "") << "it only reads";

  const auto& session = spool.at("sessions").at(0);
  EXPECT_EQ(session.at("workspace"), "work");
  EXPECT_EQ(session.at("lanes"), 1);
  EXPECT_GE(session.at("content_bytes"), 1'000'000);
  EXPECT_GT(session.at("journal_bytes"), 0);
  uint64_t mutations = 0;
  for (const auto& record : journal.at("sessions").at(0).at("records")) {
    mutations += record.at("type") == "mutation" ? 1 : 0;
  }
  EXPECT_GE(mutations, 10u) << "the creations that no gateway has";
  EXPECT_EQ(journal.at("sessions").at(0).at("torn"), false);
  const auto& lane = shm.at("lanes").at(0);
  EXPECT_EQ(lane.at("problem"), "");
  EXPECT_GT(lane.at("counters").at("requests"), 10);
  EXPECT_EQ(lane.at("creator_pid"), host().broker().pid());
  const Finished text = host().Airctl({"debug", "journal"});
  EXPECT_NE(text.out.find("mutation"), std::string::npos) << text.All();
  host().StartGateway();
}

TEST_F(Debug, SaysWhereThereIsNothing) {
  const Finished said = host().Airctl({"debug", "spool", "--state-dir", "/nowhere"});
  EXPECT_EQ(said.code, 3) << said.All();
  EXPECT_NE(said.err.find("/nowhere/spool"), std::string::npos) << said.All();
}

TEST_F(Debug, ABundleTellsMuchAndNoSecret) {
  WriteFile(At("file"), "the content of a file");
  const std::string archive = host().Path("bundle:1.tar.gz");
  WriteFile(host().Path("elsewhere"), "mine");
  ASSERT_EQ(symlink(host().Path("elsewhere").c_str(), archive.c_str()), 0);
  const Finished made = host().Airctl({"debug", "bundle", archive});
  ASSERT_EQ(made.code, 0) << made.All();
  EXPECT_EQ(Stat(archive).st_mode & 07777, 0600u);
  EXPECT_EQ(ReadFile(host().Path("elsewhere")), "mine");
  const std::string to = host().Path("bundle");
  std::filesystem::create_directory(to);
  RunOk({"tar", "--force-local", "-xzf", archive, "-C", to});
  std::string all;
  for (const auto& name : NamesIn(to)) all += ReadFile(to + "/" + name);
  for (const char* name : {"status.json", "doctor.json", "spool.json", "journal.json", "shm.json",
                           "versions.txt", "mountinfo.txt"}) {
    EXPECT_TRUE(Exists(to + "/" + name)) << name;
  }
  EXPECT_NE(all.find(mount()), std::string::npos);
  for (const std::string& file : {host().Path("work.token"), host().admin_token_file()}) {
    std::string token = ReadFile(file);
    while (!token.empty() && token.back() == '\n') token.pop_back();
    ASSERT_GT(token.size(), 10u);
    EXPECT_EQ(all.find(token), std::string::npos) << file;
  }
  EXPECT_EQ(all.find("the content of a file"), std::string::npos);
}

TEST_F(Debug, WhatIsWarmNeedsNoGateway) {
  std::filesystem::create_directories(At("a/b"));
  std::map<std::string, std::string> files;
  for (int i = 0; i < 30; ++i) {
    files["a/b/" + std::to_string(i)] = RandomBytes(static_cast<uint64_t>(i), 1000 + 10'000 * i);
  }
  for (const auto& [name, content] : files) WriteFile(At(name), content);
  RemountFresh();
  const auto warmed = host().AirctlJson({"warm", At("a")});
  EXPECT_EQ(warmed.at("files"), 30);
  EXPECT_EQ(warmed.at("failed"), 0);
  host().KillGateway();
  for (const auto& [name, content] : files) EXPECT_EQ(ReadFile(At(name)), content) << name;
  host().StartGateway();
  const Finished nothing = host().Airctl({"warm", At("none")});
  EXPECT_EQ(nothing.code, 3) << nothing.All();
  EXPECT_NE(nothing.err.find("No such file"), std::string::npos) << nothing.All();
  ASSERT_EQ(symlink(At("a").c_str(), host().Path("link").c_str()), 0);
  EXPECT_EQ(host().AirctlJson({"warm", host().Path("link")}).at("files"), 30);
  EXPECT_EQ(host().Airctl({"warm", host().directory()}).code, 3) << "it is in no mount";
}

}  // namespace
}  // namespace airstore::e2e
