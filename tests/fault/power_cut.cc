// SPDX-License-Identifier: Apache-2.0
#include "tests/fault/power_cut.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>

#include <filesystem>
#include <fstream>

#include "tests/e2e/support/files.h"

namespace airstore::fault {
namespace {

// Its journal is committed when somebody asks for that, and seldom else.
e2e::Finished MountDisk(const e2e::Host& host, const std::string& name) {
  return e2e::RunProgram({"mount", "-o", "loop,commit=300", host.Path(name), host.Path("state")});
}

}  // namespace

std::string PowerCut::UseDisk(e2e::Host& host) {
  host.StopBroker();
  host.WipeBrokerState();
  std::filesystem::create_directory(host.Path("state"));
  std::ofstream(host.Path("disk"));
  std::filesystem::resize_file(host.Path("disk"), 256u << 20);
  const auto made = e2e::RunProgram({"/usr/sbin/mkfs.ext4", "-q", "-F", host.Path("disk")});
  if (made.code != 0) return "no mkfs.ext4 (package e2fsprogs): " + made.All();
  const auto mounted = MountDisk(host, "disk");
  return mounted.code == 0 ? "" : "no loop devices: " + mounted.All();
}

void PowerCut::Cut(e2e::Host& host) {
  host.broker().Signal(SIGSTOP);
  e2e::RunOk({"cp", "--sparse=always", host.Path("disk"), host.Path("disk-after")});
  host.broker().Signal(SIGCONT);  // it is asked for its frontends
  host.KillBrokerAndMounts();
  ASSERT_FALSE(e2e::Exists(host.Path("state/spool")));
  const auto mounted = MountDisk(host, "disk-after");
  ASSERT_EQ(mounted.code, 0) << mounted.All();
  ASSERT_TRUE(e2e::Exists(host.Path("state/spool")));
}

void PowerCut::StartBrokerAfterBoot(e2e::Host& host) {
  e2e::WriteFile(host.Path("boot-id"), "11111111-2222-4333-8444-555555555555\n");
  host.StartBrokerWith({"unshare", "-m", "sh", "-c",
                        "mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec \"$@\"",
                        host.Path("boot-id")});
}

void PowerCut::TakeDiskAway(e2e::Host& host) {
  host.StopBroker();
  ASSERT_EQ(umount2(host.Path("state").c_str(), MNT_DETACH), 0);
  host.WipeBrokerState();
}

}  // namespace airstore::fault
