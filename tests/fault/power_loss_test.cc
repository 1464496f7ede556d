// SPDX-License-Identifier: Apache-2.0
//
// The power fails: what the disk has then, and nothing else, is what the next broker finds.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <map>

#include "tests/e2e/support/host_test.h"
#include "tests/fault/power_cut.h"

namespace airstore::fault {
namespace {

using std::chrono::seconds;

constexpr size_t kFiles = 60;
constexpr size_t kEarlier = 60;  // that the gateway has had

class PowerLoss : public e2e::HostTest, public testing::WithParamInterface<bool> {
 protected:
  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    host().CreateWorkspace("work");
    if (const std::string why = power_.UseDisk(host()); !why.empty()) GTEST_SKIP() << why;
    host().StartBroker();
    mount_ = host().Mount("work", "mnt", Arguments());
  }
  static e2e::Arguments Arguments() {
    e2e::Arguments words = {"--fsync", "local"};
    if (!GetParam()) words.insert(words.end(), {"--passthrough", "off"});
    return words;
  }
  bool Recovered() {
    const nlohmann::json status = host().Status();
    for (const auto& session : status.at("sessions")) {
      if (session.at("state") == "recovering") return false;
    }
    return true;
  }
  // Another host's view: a broker that knows nothing, on another disk.
  void MountFresh() {
    power_.TakeDiskAway(host());
    host().StartBroker();
    mount_ = host().Mount("work", "mnt");
  }
  std::string At(const std::string& name) const { return mount_ + "/" + name; }
  static std::string Content(size_t i) {
    return e2e::RandomBytes(i, i % 5 == 0 ? 700'000 : 1 + 997 * i);
  }
  UniqueFd Write(const std::string& name, const std::string& content) {
    UniqueFd file = e2e::Open(At(name), O_RDWR | O_CREAT | O_TRUNC);
    e2e::WriteAt(file.get(), content, 0);
    return file;
  }
  void SyncDirectory() {
    const UniqueFd directory = e2e::Open(mount_, O_RDONLY | O_DIRECTORY);
    ASSERT_EQ(e2e::ErrnoOf(fsync(directory.get())), 0);
  }

  PowerCut power_;

 private:
  std::string mount_;
};

INSTANTIATE_TEST_SUITE_P(Spool, PowerLoss, testing::Bool(),
                         [](const auto& param) { return param.param ? "Passthrough" : "Daemon"; });

TEST_P(PowerLoss, WhatFsyncReturnedForIsThere) {
  ASSERT_EQ(host().MountStatus(host().Path("mnt")).at("fsync"), "local");
  std::map<std::string, std::string> promised;
  // At the gateway, and on this disk never written out.
  const std::string good = e2e::RandomBytes(77, 300'000);
  Write("good", good).reset();
  // Promised, sent, and no longer needed here: what comes next could use their files.
  for (size_t i = 0; i < kEarlier; ++i) {
    const std::string name = "earlier-" + std::to_string(i);
    promised[name] = Content(1000 + i % 7);
    const UniqueFd file = Write(name, promised[name]);
    ASSERT_EQ(e2e::ErrnoOf(fsync(file.get())), 0);
  }
  ASSERT_EQ(host().Airctl({"flush", "--timeout", "60"}).code, 0);
  ASSERT_EQ(e2e::ReadFile(At("good")), good);
  ASSERT_EQ(e2e::NamesIn(At("")).size(), kEarlier + 1);  // the gateway is not asked again
  const UniqueFd changing = e2e::Open(At("good"), O_RDWR);
  e2e::WriteAt(changing.get(), "x", 0);
  host().FreezeGateway();

  std::map<std::string, std::string> hoped;
  for (size_t i = 0; i < kFiles; ++i) {
    const std::string name = "file-" + std::to_string(i);
    const std::string draft = "draft-" + std::to_string(i);
    const UniqueFd file = Write(draft, Content(i));
    if (i % 3 == 0) {
      hoped[draft] = Content(i);
      continue;
    }
    ASSERT_EQ(e2e::ErrnoOf(i % 3 == 1 ? fsync(file.get()) : fdatasync(file.get())), 0);
    if (i % 2 == 0) {
      promised[draft] = Content(i);
      continue;
    }
    ASSERT_EQ(rename(At(draft).c_str(), At(name).c_str()), 0);
    SyncDirectory();
    promised[name] = Content(i);
  }
  // Grows and shrinks, each time to the disk.
  UniqueFd growing = Write("growing", Content(5));
  ASSERT_EQ(e2e::ErrnoOf(fsync(growing.get())), 0);
  ASSERT_EQ(e2e::ErrnoOf(ftruncate(growing.get(), 1000)), 0);
  e2e::WriteAt(growing.get(), "more", 1000);
  ASSERT_EQ(e2e::ErrnoOf(fsync(growing.get())), 0);
  promised["growing"] = Content(5).substr(0, 1000) + "more";
  ASSERT_EQ(unlink(At("earlier-0").c_str()), 0);
  SyncDirectory();
  promised.erase("earlier-0");
  const auto at_stake = host().SessionStatus("work").at("pending_mutations").get<uint64_t>();
  ASSERT_GT(at_stake, kFiles);
  growing.reset();

  power_.Cut(host());
  power_.StartBrokerAfterBoot(host());
  EXPECT_FALSE(Recovered());
  host().ThawGateway();
  ASSERT_TRUE(e2e::WaitUntil(seconds(60), [&] { return Recovered(); }));
  size_t cut = 0;
  const nlohmann::json lost = host().AirctlJson({"recover"});
  for (const auto& item : lost.at("items")) cut += item.at("error") == ENODATA;
  MountFresh();
  for (const auto& [name, content] : promised) {
    EXPECT_TRUE(e2e::ReadFile(At(name)) == content) << name;
  }
  EXPECT_FALSE(e2e::Exists(At("earlier-0")));
  // What nobody waited for may be gone, and is: the power did fail. It takes nothing along.
  size_t gone = 0;
  for (const auto& [name, content] : hoped) {
    gone += !e2e::Exists(At(name)) || e2e::ReadFile(At(name)) != content;
  }
  EXPECT_GT(gone, 0u);
  EXPECT_GT(cut, 0u) << lost.dump();
  EXPECT_TRUE(e2e::ReadFile(At("good")) == good);
  printf("%zu files promised and there, %zu of %zu others gone, %zu kept because they were cut\n",
         promised.size(), gone, hoped.size(), cut);
}

}  // namespace
}  // namespace airstore::fault
