// SPDX-License-Identifier: Apache-2.0
//
// Another host has changed a file that is open here, and its blocks cannot be had: the file here is
// neither what it was nor what it is to become. It becomes that without being asked, and what a
// program writes into it meanwhile is kept.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>

#include "tests/e2e/support/host_test.h"
#include "tests/e2e/support/other_broker.h"

namespace airstore::fault {
namespace {

using std::chrono::seconds;

class HalfReplaced : public e2e::HostTest {
 protected:
  e2e::HostOptions Options() const override { return {.one_gateway = true, .block_files = true}; }
  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    host().CreateWorkspace("work");
    here_ = host().Mount("work", "here");
    e2e::WriteFile(here_ + "/file", original_);
    other_ = std::make_unique<e2e::OtherBroker>(host());
    there_ = other_->Mount("work", "there");
    // From here on nobody has the lease.
    ASSERT_EQ(e2e::ReadFile(there_ + "/file"), original_);
  }
  void Hide() { std::filesystem::rename(host().Path("gateway/blocks"), host().Path("hidden")); }
  void Show() { std::filesystem::rename(host().Path("hidden"), host().Path("gateway/blocks")); }
  // Their change is known here, its bytes are not, and this host has tried.
  void ChangeThere() {
    host().broker().Signal(SIGSTOP);
    e2e::WriteFile(there_ + "/other", "small");
    const UniqueFd file = e2e::Open(there_ + "/file", O_RDWR);
    e2e::WriteAt(file.get(), theirs_, 0);
    ASSERT_EQ(fsync(file.get()), 0);
    Hide();
    host().broker().Signal(SIGCONT);
    std::this_thread::sleep_for(seconds(2));
  }
  static std::string Content(int fd) {
    std::string content(1'000'000, '\0');
    const ssize_t got = pread(fd, content.data(), content.size(), 0);
    content.resize(got < 0 ? 0 : static_cast<size_t>(got));
    return content;
  }

  const std::string original_ = e2e::RandomBytes(1, 300'000);
  const std::string theirs_ = e2e::RandomBytes(2, 400'000);
  std::string here_;
  std::string there_;
  std::unique_ptr<e2e::OtherBroker> other_;
};

TEST_F(HalfReplaced, BecomesWhatItIsToBeWithoutBeingAsked) {
  const UniqueFd file = e2e::Open(here_ + "/file", O_RDONLY);
  ASSERT_EQ(Content(file.get()), original_);
  ChangeThere();
  EXPECT_NE(Content(file.get()), theirs_);
  // That is nothing to others of the directory, which is listed anew after their change.
  ASSERT_EQ(mkdir((there_ + "/third").c_str(), 0755), 0) << strerror(errno);
  EXPECT_TRUE(e2e::WaitUntil(seconds(10), [&] { return e2e::NamesIn(here_).size() == 3; }));
  Show();
  EXPECT_TRUE(e2e::WaitUntil(seconds(20), [&] { return Content(file.get()) == theirs_; }));
}

// Of a store to a map nobody is told, and nobody asks for the file again.
TEST_F(HalfReplaced, KeepsWhatIsWrittenIntoIt) {
  UniqueFd file = e2e::Open(here_ + "/file", O_RDWR);
  ASSERT_EQ(Content(file.get()), original_);
  void* const map =
      mmap(nullptr, original_.size(), PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  ASSERT_NE(map, MAP_FAILED) << strerror(errno);
  ChangeThere();
  file.reset();
  const std::string mine(5000, 'm');
  memcpy(static_cast<char*>(map) + 10, mine.data(), mine.size());
  ASSERT_EQ(munmap(map, original_.size()), 0);
  Show();
  host().Unmount(here_);
  nlohmann::json lost;
  ASSERT_TRUE(e2e::WaitUntil(seconds(20), [&] {
    lost = host().AirctlJson({"recover"}).at("items");
    return lost.size() == 1;
  })) << lost;
  const std::string kept = e2e::ReadFile(lost.at(0).at("location").get<std::string>());
  EXPECT_EQ(kept.substr(10, mine.size()), mine);
  EXPECT_EQ(e2e::ReadFile(there_ + "/file"), theirs_);
}

}  // namespace
}  // namespace airstore::fault
