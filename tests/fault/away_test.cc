// SPDX-License-Identifier: Apache-2.0
//
// The gateway is away for AIRSTORE_FAULT_AWAY_SECONDS while programs write as fast as they can:
// into files that the kernel writes (passthrough), through the frontend, and into maps. The spool
// keeps its limit, nobody hangs, and all that was accepted arrives.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "tests/e2e/support/host_test.h"
#include "tests/fault/away_writers.h"

namespace airstore::fault {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint64_t kLimit = 1ull << 30;
constexpr seconds kIoTimeout{3};
constexpr auto kHangs = kIoTimeout + seconds(3);

std::string TextOf(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

uint64_t DiskBytes(const std::string& directory) {
  uint64_t bytes = 0;
  std::error_code failed;
  for (std::filesystem::recursive_directory_iterator at(directory, failed), end;
       !failed && at != end; at.increment(failed)) {
    struct stat info {};
    if (lstat(at->path().c_str(), &info) == 0) bytes += static_cast<uint64_t>(info.st_blocks) * 512;
  }
  return bytes;
}

uint64_t PrivateBytes(pid_t pid) {
  std::istringstream lines(TextOf("/proc/" + std::to_string(pid) + "/smaps_rollup"));
  uint64_t bytes = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("Private_", 0) == 0)
      bytes += std::stoull(line.substr(line.find(':') + 1)) * 1024;
  }
  return bytes;
}

// Looks at everything that must hold all the time.
class Observer {
 public:
  Observer(e2e::Host& host, std::string mount) : host_(host), mount_(std::move(mount)) {}

  void Look() {
    most_on_disk_ = std::max(most_on_disk_, DiskBytes(host_.Path("state")));
    most_private_ = std::max(most_private_, PrivateBytes(host_.broker().pid()));
    LookForHangs();
    Time("df", [this] {
      struct statvfs space {};
      return statvfs(mount_.c_str(), &space) == 0;
    });
    Time("ls", [this] { return e2e::NamesIn(mount_ + "/cached").size() == 50; });
    Time("airctl status", [this] {
      const auto broker = host_.Status().at("broker");
      most_unsent_ = std::max(most_unsent_, broker.at("spool_bytes").get<uint64_t>());
      return true;
    });
  }
  uint64_t most_unsent() const { return most_unsent_; }  // by the broker's account
  uint64_t most_on_disk() const { return most_on_disk_; }
  uint64_t most_private() const { return most_private_; }
  const std::map<std::string, milliseconds>& slowest() const { return slowest_; }
  milliseconds longest_hang() const { return longest_hang_; }
  int failures() const { return failures_; }

 private:
  template <typename Question>
  void Time(const std::string& what, const Question& answered) {
    const auto begin = e2e::Now();
    if (!answered()) ++failures_;
    milliseconds& slowest = slowest_[what];
    slowest = std::max(slowest, std::chrono::duration_cast<milliseconds>(e2e::Now() - begin));
  }
  // Threads of ours that sleep in a way that no signal ends, in a file system of ours.
  void LookForHangs() {
    std::map<std::string, std::chrono::steady_clock::time_point> now;
    for (const std::string& thread : e2e::NamesIn("/proc/self/task")) {
      const std::string base = "/proc/self/task/" + thread;
      const std::string stat = TextOf(base + "/stat");
      const size_t state = stat.rfind(") ");
      if (state == std::string::npos || stat[state + 2] != 'D') continue;
      if (TextOf(base + "/stack").find("fuse_") == std::string::npos) continue;
      const auto known = hanging_.find(thread);
      const auto since = known == hanging_.end() ? e2e::Now() : known->second;
      now[thread] = since;
      longest_hang_ =
          std::max(longest_hang_, std::chrono::duration_cast<milliseconds>(e2e::Now() - since));
    }
    hanging_ = std::move(now);
  }

  e2e::Host& host_;
  std::string mount_;
  uint64_t most_unsent_ = 0;
  uint64_t most_on_disk_ = 0;
  uint64_t most_private_ = 0;
  std::map<std::string, milliseconds> slowest_;
  milliseconds longest_hang_{0};
  int failures_ = 0;
  std::map<std::string, std::chrono::steady_clock::time_point> hanging_;
};

class Away : public e2e::HostTest {
 protected:
  const seconds duration_{e2e::EnvOr("AIRSTORE_FAULT_AWAY_SECONDS", 20)};

  e2e::HostOptions Options() const override {
    return {.broker_arguments = {"--spool-limit", std::to_string(kLimit), "--write-stall-timeout",
                                 "5s", "--io-timeout", std::to_string(kIoTimeout.count()) + "s"},
            .patience = duration_ + seconds(600)};
  }
  void MountAll() {
    passed_ = host().Mount("work", "passed", {});
    served_ = host().Mount("other", "served", {"--passthrough", "off"});
  }
  // MiB a second of a file that is sent while nothing else happens.
  double LineRate() {
    constexpr size_t kBytes = 128u << 20;
    e2e::WriteFile(passed_ + "/rate", e2e::RandomBytes(9, kBytes));
    const auto begin = e2e::Now();
    (void)host().AirctlJson({"flush"});
    const std::chrono::duration<double> taken = e2e::Now() - begin;
    unlink((passed_ + "/rate").c_str());
    (void)host().AirctlJson({"flush"});
    return (kBytes >> 20) / taken.count();
  }
  const std::string& passed() const { return passed_; }
  const std::string& served() const { return served_; }

 private:
  std::string passed_;
  std::string served_;
};

TEST_F(Away, TheSpoolKeepsItsLimitAndNothingIsLost) {
  host().CreateWorkspace("work");
  host().CreateWorkspace("other");
  MountAll();
  ASSERT_EQ(mkdir((passed() + "/cached").c_str(), 0755), 0);
  for (int i = 0; i < 50; ++i) e2e::WriteFile(passed() + "/cached/" + std::to_string(i), "cached");
  const double rate = LineRate();
  // From here on no name needs a question.
  (void)e2e::NamesIn(passed());
  (void)e2e::NamesIn(served());
  struct statvfs space {};
  ASSERT_EQ(statvfs(passed().c_str(), &space), 0);

  constexpr uint64_t kFile = 12u << 20;
  std::vector<std::unique_ptr<Writer>> writers;
  writers.push_back(MakeStream(passed(), "stream", kFile));
  writers.push_back(MakeAppender(passed(), "appender"));
  writers.push_back(MakeMapper(passed(), "map"));
  writers.push_back(MakeStream(passed(), "small", 9000));
  writers.push_back(MakeStream(served(), "stream", kFile));
  writers.push_back(MakeAppender(served(), "appender"));
  writers.push_back(MakeMapper(served(), "map"));
  for (const auto& writer : writers) writer->Start();
  std::this_thread::sleep_for(milliseconds(300));
  // What the gateway has already stays cached, and is not the spool's: so that it is known how much
  // that is, only stores to maps, which take no more room, go on meanwhile.
  const auto is_map = [](const auto& writer) { return writer->name() == "map"; };
  for (const auto& writer : writers) {
    if (!is_map(writer)) writer->Stop();
  }
  ASSERT_EQ(host().Airctl({"flush"}).code, 0);
  host().FreezeGateway();
  const uint64_t account = host().Status().at("broker").at("spool_bytes").get<uint64_t>();
  const uint64_t on_disk = DiskBytes(host().Path("state"));
  ASSERT_GE(on_disk, account);
  const uint64_t clean = on_disk - account;
  for (const auto& writer : writers) {
    if (!is_map(writer)) writer->Start();
  }
  Observer observer(host(), passed());
  const auto end = e2e::Now() + duration_;
  while (e2e::Now() < end) {
    observer.Look();
    std::this_thread::sleep_for(milliseconds(100));
  }
  uint64_t accepted = 0;
  uint64_t refused = 0;
  for (const auto& writer : writers) refused += writer->refused();
  EXPECT_GT(refused, 0u) << "the spool did not run full";
  const uint64_t unsent = host().Status().at("broker").at("spool_bytes").get<uint64_t>();
  EXPECT_GT(unsent, kLimit / 2);

  for (const auto& writer : writers) writer->Stop();
  const auto begin = e2e::Now();
  host().ThawGateway();
  EXPECT_EQ(host().Airctl({"flush", "--timeout", "300"}, {.patience = seconds(330)}).code, 0);
  const std::chrono::duration<double> drain = e2e::Now() - begin;
  for (const auto& writer : writers) {
    EXPECT_EQ(writer->surprise(), "");
    accepted += writer->accepted();
    printf("%s: %llu MiB accepted, %llu refusals\n", writer->name().c_str(),
           static_cast<unsigned long long>(writer->accepted() >> 20),
           static_cast<unsigned long long>(writer->refused()));
  }
  const double drained = static_cast<double>(unsent >> 20) / drain.count();
  printf(
      "away %llds: accepted %llu MiB, unsent at most %llu MiB, on disk at most %llu MiB (%llu "
      "clean), broker private at most %llu MiB, "
      "longest D %lld ms, drained at %.0f MiB/s (%.0f before)\n",
      static_cast<long long>(duration_.count()), static_cast<unsigned long long>(accepted >> 20),
      static_cast<unsigned long long>(observer.most_unsent() >> 20),
      static_cast<unsigned long long>(observer.most_on_disk() >> 20),
      static_cast<unsigned long long>(clean >> 20),
      static_cast<unsigned long long>(observer.most_private() >> 20),
      static_cast<long long>(observer.longest_hang().count()), drained, rate);
  for (const auto& [what, slowest] : observer.slowest()) {
    printf("%s: slowest answer %lld ms\n", what.c_str(), static_cast<long long>(slowest.count()));
  }
  EXPECT_LT(observer.most_unsent(), kLimit / 100 * 105);
  EXPECT_LT(observer.most_on_disk() - clean, kLimit / 100 * 105);
  EXPECT_LT(observer.most_private(), 400ull << 20);
  EXPECT_LT(observer.longest_hang(), kHangs);
  EXPECT_EQ(observer.failures(), 0);
  EXPECT_GT(drained, rate / 4);

  const auto counters = host().MountStatus(served()).at("counters");
  printf("served: %s waits for the lane, %s for room\n",
         counters.at("queue_full_waits").dump().c_str(),
         counters.at("write_stalls").dump().c_str());

  EXPECT_EQ(host().Status().at("broker").at("lost_items"), 0) << host().Airctl({"recover"}).All();

  // Through an empty cache.
  host().Unmount(passed());
  host().Unmount(served());
  host().StopBroker();
  host().WipeBrokerState();
  host().StartBroker();
  MountAll();
  for (size_t i = 0; i < writers.size(); ++i) {
    EXPECT_EQ(writers[i]->Compare(i < 4 ? passed() : served()), "");
  }
}

// Files that the kernel writes are looked at from time to time, and these are closed before. The
// kernel tells of a close without waiting for whom it tells.
TEST_F(Away, WhatIsClosedAtOnceCountsAsMuchAsOtherFiles) {
  host().CreateWorkspace("work");
  const std::string mount = host().Mount("work", "passed", {});
  e2e::WriteFile(mount + "/first", "first");
  (void)e2e::NamesIn(mount);
  ASSERT_EQ(host().Airctl({"flush"}).code, 0);
  host().FreezeGateway();
  const auto unsent = [this] {
    return host().Status().at("broker").at("spool_bytes").get<uint64_t>();
  };
  const uint64_t before = unsent();
  constexpr int kFiles = 40;
  constexpr size_t kBytes = 4u << 20;
  const std::string content = e2e::RandomBytes(3, kBytes);
  for (int i = 0; i < kFiles; ++i) e2e::WriteFile(mount + "/" + std::to_string(i), content);
  EXPECT_TRUE(
      e2e::WaitUntil(seconds(5), [&] { return unsent() - before >= kFiles * kBytes * 95 / 100; }));
  host().ThawGateway();
  ASSERT_EQ(host().Airctl({"flush"}).code, 0);
  EXPECT_TRUE(e2e::WaitUntil(seconds(10), [&] { return unsent() <= before + kBytes; }));
}

}  // namespace
}  // namespace airstore::fault
