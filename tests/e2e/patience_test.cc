// SPDX-License-Identifier: Apache-2.0
//
// A broker that is dead and not replaced, or stopped: nobody hangs in the mount for longer than
// io_timeout, whoever is killed is gone, and what was accepted arrives all the same.
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <functional>

#include "tests/e2e/support/host_test.h"
#include "tests/e2e/support/other_broker.h"

namespace airstore::e2e {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// A process of ours that does something, waits to be told, and does something else.
class Program {
 public:
  // `before` returns a descriptor, which `after` is given; what that returns is the exit code.
  Program(const std::function<int()>& before, const std::function<int(int)>& after) {
    int ready[2];
    int go[2];
    if (pipe2(ready, O_CLOEXEC) != 0 || pipe2(go, O_CLOEXEC) != 0) abort();
    pid_ = fork();
    if (pid_ == 0) {
      const int file = before();
      char byte = 0;
      if (write(ready[1], &byte, 1) != 1 || read(go[0], &byte, 1) != 1) _exit(100);
      _exit(after(file));
    }
    go_ = UniqueFd(go[1]);
    const UniqueFd ready_end(ready[0]);
    close(ready[1]);
    close(go[0]);
    char byte = 0;
    if (read(ready_end.get(), &byte, 1) != 1) abort();
  }
  ~Program() {
    if (pid_ < 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  pid_t pid() const { return pid_; }
  void Go() const {
    const char byte = 0;
    if (write(go_.get(), &byte, 1) != 1) abort();
  }
  // Whether it is gone by then; as Process::Wait.
  std::optional<int> Wait(milliseconds patience) {
    int status = 0;
    if (!WaitUntil(patience, [&] { return waitpid(pid_, &status, WNOHANG) == pid_; })) return {};
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  pid_t pid_ = -1;
  UniqueFd go_;
};

struct Case {
  const char* name;
  bool stopped;      // the broker is, else it is dead
  bool passthrough;  // of the mount
  bool alone;        // under the write lease
};

class Patience : public HostTest, public testing::WithParamInterface<Case> {
 protected:
  static constexpr seconds kIoTimeout{3};
  static constexpr seconds kLimit = kIoTimeout + seconds(1);

  HostOptions Options() const override {
    return {.broker_arguments = {"--io-timeout", std::to_string(kIoTimeout.count()) + "s"},
            .gateway_arguments = {"--session-seconds", "60"}};
  }
  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    host().CreateWorkspace("work");
    const bool passthrough = GetParam().passthrough;
    mount_ = host().Mount("work", "mnt", {"--passthrough", passthrough ? "auto" : "off"});
    if (GetParam().alone) return;
    other_ = std::make_unique<OtherBroker>(host());
    there_ = other_->Mount("work", "there");
    ASSERT_TRUE(WaitUntil(
        seconds(10), [&] { return !host().SessionStatus("work").at("write_lease").get<bool>(); }));
  }
  void TearDown() override {
    if (!IsSkipped() && stopped_) host().broker().Signal(SIGCONT);
  }
  std::string At(const std::string& name) const { return mount_ + "/" + name; }

  void LoseBroker() {
    if (!GetParam().stopped) return host().KillBroker();
    host().broker().Signal(SIGSTOP);
    stopped_ = true;
  }
  void GetBroker() {
    if (!GetParam().stopped) return host().StartBroker();
    host().broker().Signal(SIGCONT);
    stopped_ = false;
  }
  // What the gateway has, seen by a broker without any cache.
  std::string AtTheGateway(const std::string& name) {
    if (other_ == nullptr) {
      mount_ = host().RemountFresh("work", mount_, {});
      return ReadFile(At(name));
    }
    EXPECT_EQ(host().Airctl({"flush"}).code, 0);
    there_ = other_->RemountFresh("work", there_);
    return ReadFile(there_ + "/" + name);
  }
  // Writes to a file before and after the broker is lost, and does that to it.
  std::unique_ptr<Program> Writer(const std::string& name, const std::function<int(int)>& end,
                                  int flags = 0) {
    return std::make_unique<Program>(
        [this, name, flags] {
          const int file = open(At(name).c_str(), O_CREAT | O_RDWR | flags, 0644);
          return write(file, "early ", 6) == 6 ? file : -1;
        },
        [end](int file) { return write(file, "late", 4) == 4 ? end(file) : 101; });
  }
  static bool ReadsEnviron(pid_t pid) {
    const UniqueFd file(open(("/proc/" + std::to_string(pid) + "/environ").c_str(), O_RDONLY));
    char text[64];
    return static_cast<bool>(file) && read(file.get(), text, sizeof(text)) >= 0;
  }

 private:
  std::string mount_;
  std::string there_;
  std::unique_ptr<OtherBroker> other_;
  bool stopped_ = false;
};

TEST_P(Patience, AWriterThatExitsIsGoneAndItsDataArrives) {
  const auto writer = Writer("file", [](int) { return 7; });
  LoseBroker();
  writer->Go();
  EXPECT_EQ(writer->Wait(kLimit), 7);
  GetBroker();
  EXPECT_EQ(AtTheGateway("file"), "early late");
}

TEST_P(Patience, AWriterThatIsKilledIsGoneAndItsDataArrives) {
  const auto writer = Writer("file", [](int) { return pause(); });
  LoseBroker();
  writer->Go();
  EXPECT_FALSE(writer->Wait(milliseconds(200)));
  kill(writer->pid(), SIGKILL);
  EXPECT_EQ(writer->Wait(kLimit), 128 + SIGKILL);
  GetBroker();
  EXPECT_EQ(AtTheGateway("file"), "early late");
}

// While exec closes files, whoever reads /proc/PID/environ of it waits, too.
TEST_P(Patience, AWriterThatExecutesAProgramDoesSo) {
  const auto writer = Writer(
      "file", [](int) { return execl("/bin/true", "true", nullptr); }, O_CLOEXEC);
  LoseBroker();
  writer->Go();
  const auto begin = Now();
  while (Now() - begin < kLimit && ReadsEnviron(writer->pid())) Pause();
  EXPECT_EQ(writer->Wait(kLimit), 0);
  EXPECT_LT(Now() - begin, kLimit + seconds(1));
  GetBroker();
  EXPECT_EQ(AtTheGateway("file"), "early late");
}

TEST_P(Patience, CloseReturns) {
  const auto writer = Writer("file", [](int file) {
    if (close(file) == 0) return 0;
    return errno == ETIMEDOUT ? 1 : 2;
  });
  LoseBroker();
  writer->Go();
  // Under the lease it has nothing to wait for; else others shall find what was closed.
  EXPECT_EQ(writer->Wait(kLimit), GetParam().alone ? 0 : 1);
  GetBroker();
  EXPECT_EQ(AtTheGateway("file"), "early late");
}

TEST_P(Patience, ManyWritersAreGoneAtOnce) {
  std::vector<std::unique_ptr<Program>> writers;
  constexpr int kWriters = 150;  // more than a frontend has threads
  for (int i = 0; i < kWriters; ++i) {
    writers.push_back(Writer("file" + std::to_string(i), [](int) { return 7; }));
  }
  LoseBroker();
  const auto begin = Now();
  for (const auto& writer : writers) writer->Go();
  for (const auto& writer : writers) {
    const auto left = kLimit + seconds(1) - (Now() - begin);
    EXPECT_EQ(writer->Wait(std::chrono::duration_cast<milliseconds>(left)), 7);
  }
  GetBroker();
  EXPECT_EQ(AtTheGateway("file77"), "early late");
}

TEST_P(Patience, CallsTimeOut) {
  WriteFile(At("old"), "old");
  LoseBroker();
  auto begin = Now();
  EXPECT_EQ(ErrnoOf(mkdir(At("new").c_str(), 0755)), ETIMEDOUT);
  EXPECT_LT(Now() - begin, kLimit);
  EXPECT_GE(Now() - begin, kIoTimeout);
  // Whoever comes later does not wait that long once more.
  begin = Now();
  EXPECT_EQ(ErrnoOf(rename(At("old").c_str(), At("older").c_str())), ETIMEDOUT);
  EXPECT_EQ(ErrnoOf(open(At("none").c_str(), O_CREAT | O_RDWR, 0644)), ETIMEDOUT);
  EXPECT_LT(Now() - begin, kLimit);
  GetBroker();
  // What has failed has not happened, and what comes now does.
  EXPECT_TRUE(WaitUntil(seconds(10), [&] { return mkdir(At("next").c_str(), 0755) == 0; }));
  EXPECT_TRUE(Exists(At("old")));
  EXPECT_FALSE(Exists(At("older")));
  EXPECT_FALSE(Exists(At("new")));
  EXPECT_FALSE(Exists(At("none")));
}

TEST_P(Patience, WhoWaitsCanBeKilled) {
  WriteFile(At("locked"), "content");
  const UniqueFd locked = Open(At("locked"), O_RDWR);
  ASSERT_EQ(flock(locked.get(), LOCK_EX), 0);
  const Program waits_for_lock([] { return 0; },
                               [this](int) {
                                 const int file = open(At("locked").c_str(), O_RDWR);
                                 return flock(file, LOCK_EX);
                               });
  const Program makes([] { return 0; }, [this](int) { return mkdir(At("new").c_str(), 0755); });
  waits_for_lock.Go();
  usleep(200'000);
  LoseBroker();
  makes.Go();
  usleep(200'000);
  for (const Program* program : {&waits_for_lock, &makes}) {
    kill(program->pid(), SIGKILL);
    EXPECT_EQ(const_cast<Program*>(program)->Wait(seconds(2)), 128 + SIGKILL);
  }
  GetBroker();
}

TEST_P(Patience, AWriterThatFillsTheLaneFailsAndKeepsWhatItWasTold) {
  if (GetParam().passthrough) GTEST_SKIP() << "the kernel writes";
  const std::string block = RandomBytes(3, 1 << 20);
  auto writer = Program([this] { return open(At("file").c_str(), O_CREAT | O_RDWR, 0644); },
                        [&block](int file) {
                          for (int i = 0; i < 200; ++i) {
                            if (pwrite(file, block.data(), block.size(), off_t{i} << 20) == 1 << 20)
                              continue;
                            return errno == ETIMEDOUT ? i : 255;
                          }
                          return 254;
                        });
  LoseBroker();
  writer.Go();
  const auto written = writer.Wait(kLimit + seconds(2));
  ASSERT_TRUE(written);
  ASSERT_GT(*written, 0);
  ASSERT_LT(*written, 100);
  GetBroker();
  const std::string found = AtTheGateway("file");
  ASSERT_GE(found.size(), static_cast<size_t>(*written) << 20);
  for (int i = 0; i < *written; ++i) {
    ASSERT_EQ(found.compare(static_cast<size_t>(i) << 20, block.size(), block), 0) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Brokers, Patience,
                         testing::Values(Case{"Dead", false, false, true},
                                         Case{"StoppedPassthrough", true, true, true},
                                         Case{"DeadOfTwo", false, false, false},
                                         Case{"StoppedOfTwo", true, false, false}),
                         [](const testing::TestParamInfo<Case>& which) {
                           return std::string(which.param.name);
                         });

}  // namespace
}  // namespace airstore::e2e
