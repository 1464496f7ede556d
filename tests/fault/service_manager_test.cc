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

#include <thread>

#include "tests/e2e/support/host_test.h"
#include "tests/fault/service_store.h"

namespace airstore::fault {
namespace {

using std::chrono::seconds;

TEST(ServiceManager, MountsOutliveBrokerAndFrontend) {
  if (const std::string missing = e2e::WhatIsMissing(); !missing.empty()) GTEST_SKIP() << missing;
  e2e::Host host;
  host.StopBroker();
  ServiceStore store(host.Path("notify"));
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
  store.StartBroker(host);

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

  ServiceStore store(host.Path("notify"));
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
