// SPDX-License-Identifier: Apache-2.0
//
// Which backend a mount gets, where one of them or both are not to be had.
#include <filesystem>
#include <fstream>

#include "tests/e2e/support/host_test.h"

namespace airstore::nfs_test {
namespace {

using e2e::Finished;

bool KernelHasNfs() {
  std::ifstream types("/proc/filesystems");
  for (std::string word; types >> word;) {
    if (word == "nfs") return true;
  }
  return false;
}

class Backend : public e2e::HostTest {
 protected:
  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    host().CreateWorkspace("work");
    std::filesystem::create_directory(host().Path("mnt"));
  }
  Finished Mount(const e2e::Arguments& extra, std::map<std::string, std::string> env = {}) {
    e2e::Arguments words = {"mount", host().Path("mnt"), "--token-file", host().Path("work.token")};
    words.insert(words.end(), extra.begin(), extra.end());
    return host().Airctl(words, {.env = std::move(env)});
  }
  // The broker finds no /dev/fuse; programs that enter its namespace do neither.
  void HideFuse() {
    host().StopBroker();
    host().StartBrokerWith(
        {"unshare", "-m", "sh", "-c",
         "mkdir \"$0\" && mount -t tmpfs none \"$0\" && for n in null zero urandom; do "
         "touch \"$0/$n\" && mount --bind /dev/$n \"$0/$n\"; done && mount --rbind \"$0\" /dev && "
         "exec \"$@\"",
         host().Path("dev")});
  }
};

TEST_F(Backend, NfsSaysWhatTheKernelLacks) {
  if (KernelHasNfs()) GTEST_SKIP() << "this kernel has an NFS client";
  const Finished refused = Mount({"--backend", "nfs"});
  EXPECT_EQ(refused.code, 11) << refused.All();
  EXPECT_NE(refused.err.find("this kernel has no NFS client"), std::string::npos) << refused.err;
  EXPECT_NE(refused.err.find("--serve-only"), std::string::npos) << refused.err;
  // Nothing is left behind, and FUSE is as good as before.
  EXPECT_TRUE(host().Status()["mounts"].empty());
  EXPECT_EQ(Mount({"--backend", "auto"}).code, 0);
  EXPECT_EQ(host().MountStatus(host().Path("mnt"))["backend"], "fuse");
}

TEST_F(Backend, IsChosenByFlagThenVariable) {
  EXPECT_EQ(Mount({}, {{"AIRSTORE_MOUNT_BACKEND", "smb"}}).code, 2);
  HideFuse();
  const Finished fuse = Mount({"--backend", "fuse"}, {{"AIRSTORE_MOUNT_BACKEND", "nfs"}});
  EXPECT_EQ(fuse.code, 10) << fuse.All();
  EXPECT_NE(fuse.err.find("fuse unavailable: there is no /dev/fuse"), std::string::npos);
  EXPECT_EQ(Mount({}, {{"AIRSTORE_MOUNT_BACKEND", "fuse"}}).code, 10);
  const Finished named = Mount({"--serve-only"}, {{"AIRSTORE_MOUNT_BACKEND", "nfs"}});
  EXPECT_EQ(named.code, 0) << named.All();
  host().Unmount(host().Path("mnt"));
  EXPECT_EQ(Mount({"--serve-only"}).code, 2);

  const Finished neither = Mount({"--json"});
  if (KernelHasNfs()) {
    ASSERT_EQ(neither.code, 0) << neither.All();
    EXPECT_EQ(host().MountStatus(host().Path("mnt"))["backend"], "nfs");
    host().Unmount(host().Path("mnt"));
    return;
  }
  EXPECT_EQ(neither.code, 12) << neither.All();
  const auto error = nlohmann::json::parse(neither.out)["error"];
  EXPECT_EQ(error["kind"], "no_backend");
  const std::string message = error["message"];
  EXPECT_EQ(message.rfind("fuse mount failed: fuse unavailable: there is no /dev/fuse", 0), 0u);
  EXPECT_NE(message.find("; nfs fallback unavailable: NFS mount: this kernel has no NFS client"),
            std::string::npos)
      << message;
  EXPECT_NE(error["advice"].get<std::string>().find("airctl doctor"), std::string::npos);
  EXPECT_TRUE(host().Status()["mounts"].empty());
}

TEST_F(Backend, DoctorFindsFuse) {
  const Finished found = host().Airctl({"doctor"});
  EXPECT_EQ(found.code, 0) << found.All();
  EXPECT_NE(found.out.find("with FUSE: yes"), std::string::npos) << found.out;
  EXPECT_EQ(host().AirctlJson({"doctor"})["nfs"], KernelHasNfs());
}

}  // namespace
}  // namespace airstore::nfs_test
