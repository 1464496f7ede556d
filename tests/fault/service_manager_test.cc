// SPDX-License-Identifier: Apache-2.0
//
// Broker and frontends die together, and a service manager has kept the descriptors of their
// mounts. This test is the service manager.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <thread>

#include "tests/e2e/support/host_test.h"

namespace airstore::fault {
namespace {

using std::chrono::seconds;

// What systemd does with the messages of sd_pid_notify_with_fds(3).
class Store {
 public:
  explicit Store(const std::string& path) : path_(path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    socket_.reset(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    EXPECT_EQ(bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }
  void Receive() {
    for (;;) {
      char text[4096];
      iovec part{text, sizeof(text)};
      alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
      msghdr header{};
      header.msg_iov = &part;
      header.msg_iovlen = 1;
      header.msg_control = control;
      header.msg_controllen = sizeof(control);
      const ssize_t got = recvmsg(socket_.get(), &header, MSG_CMSG_CLOEXEC);
      if (got < 0) return;
      UniqueFd fd;
      if (const cmsghdr* rights = CMSG_FIRSTHDR(&header)) {
        int raw = -1;
        memcpy(&raw, CMSG_DATA(rights), sizeof(raw));
        fd.reset(raw);
      }
      const std::string message(text, static_cast<size_t>(got));
      ready_ |= message.find("READY=1") != std::string::npos;
      alive_ += message.find("WATCHDOG=1") != std::string::npos;
      if (const size_t main = message.find("MAINPID="); main != std::string::npos) {
        main_pid_ = atoi(message.c_str() + main + 8);
      }
      const size_t at = message.find("FDNAME=");
      if (at == std::string::npos) continue;
      const std::string name = message.substr(at + 7, message.find('\n', at) - at - 7);
      if (message.find("FDSTOREREMOVE=1") != std::string::npos) kept_.erase(name);
      if (message.find("FDSTORE=1") != std::string::npos) kept_[name] = std::move(fd);
    }
  }
  bool ready() const { return ready_; }
  int alive() const { return alive_; }  // how often it said so
  pid_t main_pid() const { return main_pid_; }
  const std::map<std::string, UniqueFd>& kept() const { return kept_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  UniqueFd socket_;
  bool ready_ = false;
  int alive_ = 0;
  pid_t main_pid_ = 0;
  std::map<std::string, UniqueFd> kept_;
};

TEST(ServiceManager, MountsOutliveBrokerAndFrontend) {
  if (const std::string missing = e2e::WhatIsMissing(); !missing.empty()) GTEST_SKIP() << missing;
  e2e::Host host;
  host.StopBroker();
  Store store(host.Path("notify"));
  setenv("NOTIFY_SOCKET", store.path().c_str(), 1);
  struct Unset {
    ~Unset() { unsetenv("NOTIFY_SOCKET"); }
  } unset;
  host.StartBroker();
  host.CreateWorkspace("work");
  const std::string mount = host.Mount("work", "mnt");
  e2e::WriteFile(mount + "/small", "content of a small file");
  e2e::WriteFile(mount + "/large", e2e::RandomBytes(1, 500'000));
  e2e::Process holder(
      {"/bin/sh", "-c",
       "exec 9<>large; exec 8>new; cd . && while [ ! -e ../go ]; do sleep 0.02; done;"
       "echo through >&9 && echo written >&8 && cat small >../seen"},
      {.directory = mount, .output_file = host.Path("holder.log")});
  ASSERT_TRUE(e2e::WaitUntil(seconds(10), [&] { return e2e::Exists(mount + "/new"); }));
  const auto device = e2e::Stat(mount).st_dev;
  store.Receive();
  EXPECT_TRUE(store.ready());
  EXPECT_GE(store.kept().size(), 2u);  // device and tables

  const auto frontends = host.FrontendPids();
  host.KillBroker();
  for (const pid_t pid : frontends) kill(pid, SIGKILL);
  // As the next start finds it: descriptors from 3 on, and who they are for.
  std::string names;
  int number = 3;
  std::vector<UniqueFd> aside;  // what lies there now
  std::vector<std::pair<int, int>> placed;
  for (const auto& [name, fd] : store.kept()) {
    names += (names.empty() ? "" : ":") + name;
    placed.emplace_back(fcntl(fd.get(), F_DUPFD_CLOEXEC, 100), number++);
  }
  std::string script = "export LISTEN_PID=$$ LISTEN_FDS=" + std::to_string(placed.size()) +
                       " LISTEN_FDNAMES=" + names + "; exec";
  for (const auto& [from, to] : placed) {
    fcntl(from, F_SETFD, 0);
    // Shells know descriptors of one digit only.
    script += " " + std::to_string(to) + "<&" + std::to_string(from);
  }
  ASSERT_LE(placed.size(), 6u);
  script += "; exec \"$0\" \"$@\"";
  host.StartBrokerWith({"/bin/bash", "-c", script});
  for (const auto& [from, to] : placed) close(from);

  EXPECT_EQ(e2e::Stat(mount).st_dev, device);
  EXPECT_EQ(e2e::ReadFile(mount + "/small"), "content of a small file");
  e2e::WriteFile(host.Path("go"), "");
  EXPECT_EQ(holder.Wait(seconds(20)), 0) << e2e::ReadFile(host.Path("holder.log"));
  EXPECT_EQ(e2e::ReadFile(host.Path("seen")), "content of a small file");
  EXPECT_EQ(e2e::ReadFile(mount + "/new"), "written\n");
  EXPECT_EQ(e2e::ReadFile(mount + "/large").substr(0, 8), "through\n");
  const e2e::TreeEntries here = e2e::Tree(mount);
  host.Unmount(mount);
  store.Receive();
  EXPECT_TRUE(store.kept().empty());
  host.StopBroker();
  host.WipeBrokerState();
  host.StartBroker();
  host.Mount("work", "mnt");
  EXPECT_EQ(e2e::Difference(here, e2e::Tree(mount)), "");
}

TEST(ServiceManager, GivesTheSocketAndHearsThatAllIsWell) {
  if (const std::string missing = e2e::WhatIsMissing(); !missing.empty()) GTEST_SKIP() << missing;
  e2e::Host host;
  host.StopBroker();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  host.socket().copy(address.sun_path, sizeof(address.sun_path) - 1);
  UniqueFd listening(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(bind(listening.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(listening.get(), 10), 0);
  const auto made = e2e::Stat(host.socket());

  Store store(host.Path("notify"));
  setenv("NOTIFY_SOCKET", store.path().c_str(), 1);
  struct Unset {
    ~Unset() { unsetenv("NOTIFY_SOCKET"); }
  } unset;
  const UniqueFd given(fcntl(listening.get(), F_DUPFD, 100));
  host.StartBrokerWith({"/bin/bash", "-c",
                        "export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=control WATCHDOG_PID=$$ "
                        "WATCHDOG_USEC=90000; exec 3<&" +
                            std::to_string(given.get()) + "; exec \"$0\" \"$@\""});
  const auto hears = [&](int times) {
    store.Receive();
    const int from = store.alive();
    return e2e::WaitUntil(seconds(20), [&] {
      store.Receive();
      return store.alive() >= from + times;
    });
  };
  EXPECT_TRUE(hears(3));
  EXPECT_EQ(store.main_pid(), host.broker().pid());
  EXPECT_EQ(e2e::Stat(host.socket()).st_ino, made.st_ino);

  // One that hangs says nothing.
  host.broker().Signal(SIGSTOP);
  ASSERT_TRUE(e2e::WaitUntil(seconds(10), [&] {
    return e2e::ReadFile("/proc/" + std::to_string(host.broker().pid()) + "/status")
               .find("T (stopped)") != std::string::npos;
  }));
  store.Receive();
  const int said = store.alive();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  store.Receive();
  EXPECT_EQ(store.alive(), said);
  host.broker().Signal(SIGCONT);
  EXPECT_TRUE(hears(1));

  e2e::Finished upgraded;
  ASSERT_TRUE(host.UpgradeBroker("", &upgraded)) << upgraded.All();
  EXPECT_TRUE(hears(3));
  EXPECT_EQ(store.main_pid(), host.broker().pid());
  EXPECT_EQ(host.Airctl({"status"}).code, 0);
  // The service manager listens on.
  host.broker().Signal(SIGTERM);
  EXPECT_TRUE(e2e::WaitUntil(seconds(20), [&] { return !host.BrokerRuns(); }));
  EXPECT_EQ(e2e::Stat(host.socket()).st_ino, made.st_ino);
}

}  // namespace
}  // namespace airstore::fault
