// SPDX-License-Identifier: Apache-2.0
//
// The NFS client of a Linux kernel, in a guest that the program nfs-kernel-client starts, in the
// directory that AIRSTORE_RIGS names, or ../shared/rigs beside the source:
//   PROGRAM --server-port N --export PATH [--opts O] [--timeout S] -- COMMAND
// runs COMMAND as root with the export mounted on /mnt; /tmp is this host's.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "tests/nfs/served.h"

namespace airstore::nfs_test {
namespace {

using e2e::Finished;

// AIRSTORE_NFS_LONG=1: as long as it takes to be sure, instead of as long as others can wait.
bool Long() { return e2e::EnvOr("AIRSTORE_NFS_LONG", 0) != 0; }

// A script that the guest finds.
std::string InSource(const std::string& name) { return std::string(AIRSTORE_GUEST) + "/" + name; }

class KernelClient : public ServedTest {
 protected:
  void SetUp() override {
    const char* rigs = getenv("AIRSTORE_RIGS");
    program_ = std::string(rigs != nullptr ? rigs : AIRSTORE_RIGS) + "/nfs-kernel-client";
    if (access(program_.c_str(), X_OK) != 0) {
      GTEST_SKIP() << "no kernel's NFS client to run: " << program_ << " (AIRSTORE_RIGS)";
    }
    ServedTest::SetUp();
  }
  Finished InGuest(const std::string& command) {
    return e2e::RunProgram({program_, "--server-port", std::to_string(port()), "--export", path(),
                            "--timeout", Long() ? "1400" : "280", "--", "set -e; " + command},
                           {.patience = std::chrono::seconds(Long() ? 1500 : 290)});
  }
  void ExpectWell(const std::string& command) {
    const Finished done = InGuest(command + "\necho all well");
    EXPECT_EQ(done.code, 0) << done.All();
    EXPECT_NE(done.out.find("all well"), std::string::npos) << done.All();
  }
  e2e::HostOptions Options() const override { return {.patience = std::chrono::seconds(1800)}; }
  static std::string Programs() {
    const std::string one = e2e::Program("airctl");
    return one.substr(0, one.rfind('/'));
  }

 private:
  std::string program_;
};

TEST_F(KernelClient, PacksUnpacksAndCompares) {
  const std::string from = host().Path("tree");
  const uint64_t directories = Long() ? 200 : 20;
  for (uint64_t directory = 1; directory <= directories; ++directory) {
    const std::string at = from + "/d" + std::to_string(directory);
    std::filesystem::create_directories(at);
    for (uint64_t file = 1; file <= 50; ++file) {
      e2e::WriteFile(at + "/f" + std::to_string(file),
                     e2e::RandomBytes(directory * 100 + file, file * 97));
    }
  }
  std::filesystem::create_symlink("d1/f1", from + "/link");
  std::filesystem::create_hard_link(from + "/d1/f1", from + "/hard");
  const Finished done =
      InGuest("cd /mnt; tar -C " + from + " -cf - . | tar -xf -; diff -r --no-dereference " + from +
              " /mnt; test $(find /mnt -type f | wc -l) = " + std::to_string(directories * 50 + 1) +
              "; test $(stat -c %h /mnt/hard) = 2; "
              "test $(readlink /mnt/link) = d1/f1; rm -r /mnt/d1; "
              "test $(find /mnt -type f | wc -l) = " +
              std::to_string(directories * 50 - 49) + "; echo all well");
  EXPECT_EQ(done.code, 0) << done.All();
  EXPECT_NE(done.out.find("all well"), std::string::npos) << done.All();
}

TEST_F(KernelClient, RunsGitForAnOrdinaryUser) {
  const Finished done = InGuest(
      "mkdir -m 777 /mnt/home; cd /mnt/home; cat > /run/git.sh <<'EOF'\n"
      "set -e; export HOME=/mnt/home; git config --global user.email a@b; "
      "git config --global user.name a; git init -q repo; cd repo; "
      "for i in $(seq 30); do echo $i > f$i; git add f$i; git commit -qm $i; done; "
      "cd ..; git clone -q repo copy; cd copy; git fsck --strict; git gc -q; git fsck; "
      "test -z \"$(git status --porcelain)\"; test $(git log --oneline | wc -l) = 30\n"
      "EOF\n"
      "setpriv --reuid=1000 --regid=1000 --clear-groups bash /run/git.sh; "
      "test $(stat -c %u /mnt/home/copy/.git) = 1000; echo all well");
  EXPECT_EQ(done.code, 0) << done.All();
  EXPECT_NE(done.out.find("all well"), std::string::npos) << done.All();
}

// The FUSE mount of this host is seen by the guest, too: what is written in one place is read in
// the other at the next open.
TEST_F(KernelClient, AgreesWithAMountOfThisHost) {
  const std::string mount = host().Mount("work", "mnt");
  const Finished done = InGuest(
      "cd /mnt; for i in $(seq " + std::string(Long() ? "1000" : "200") + "); do echo fuse $i > " +
      mount + "/a; read -r x < a; test \"$x\" = \"fuse $i\"; echo nfs $i > b; read -r x < " +
      mount + "/b; test \"$x\" = \"nfs $i\"; done; echo all well");
  EXPECT_EQ(done.code, 0) << done.All();
  EXPECT_NE(done.out.find("all well"), std::string::npos) << done.All();
}

// What the client wrote and synced is there, whoever died meanwhile; and it notices nothing.
TEST_F(KernelClient, OutlivesFrontendsAndBrokersWhileItWrites) {
  const std::string mark = host().Path("started");
  const int kills = Long() ? 60 : 5;
  std::atomic<int> killed = 0;
  std::thread killer([&] {
    if (!e2e::WaitUntil(std::chrono::seconds(60), [&] { return e2e::Exists(mark); })) return;
    for (int i = 0; i < kills; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(Long() ? 1000 : 700));
      KillFrontend();  // and sees the next one
      ++killed;
      if (i % 5 == 4) {
        host().KillBroker();
        host().StartBroker();
      }
    }
  });
  const Finished done = InGuest(
      "cd /mnt; touch " + mark + "; end=$(($(date +%s) + " + (Long() ? "62" : "6") +
      ")); i=0; while [ $(date +%s) -lt $end ]; do i=$((i+1)); "
      "head -c $((i % 200 * 1000 + 1)) /dev/zero | tr '\\0' a > f$i; mkdir d$i; mv f$i d$i/g; "
      "ln d$i/g d$i/h; rm d$i/g; done; sync; for n in $(seq $i); do "
      "test $(stat -c %s d$n/h) = $((n % 200 * 1000 + 1)); test $(tr -d a < d$n/h | wc -c) = 0; "
      "done; echo $i rounds are well");
  killer.join();
  EXPECT_EQ(done.code, 0) << done.All();
  EXPECT_NE(done.out.find("rounds are well"), std::string::npos) << done.All();
  EXPECT_EQ(killed, kills);
}

TEST_F(KernelClient, KeepsDatabasesAndWhatIsVerified) {
  ExpectWell(std::string(Long() ? "ROWS=2000 SIZE=64m" : "ROWS=200 SIZE=8m") + " bash " +
             InSource("verify.sh"));
}

TEST_F(KernelClient, KeepsOpenFilesAndMaps) {
  ExpectWell("python3 " + InSource("open_files.py"));
  // Another kernel finds the same.
  const std::string mount = host().Mount("work", "mnt");
  const std::string map = e2e::ReadFile(mount + "/map");
  ASSERT_EQ(map.size(), 3u * 1048576 + 123);
  for (size_t i = 0; i + 1 < map.size(); i += 4096) {
    ASSERT_EQ(static_cast<uint8_t>(map[i]), i / 4096 % 251) << i;
  }
  EXPECT_EQ(map.back(), 7);
  EXPECT_EQ(e2e::ReadFile(mount + "/d/l"), "new");
}

TEST_F(KernelClient, ListsALargeDirectory) {
  const uint64_t files = Long() ? 100'000 : 10'000;
  const std::string mount = host().Mount("work", "mnt");
  std::filesystem::create_directory(mount + "/large");
  for (uint64_t i = 0; i < files; ++i) {
    ASSERT_TRUE(e2e::Open(mount + "/large/name" + std::to_string(i), O_CREAT | O_WRONLY));
  }
  const std::string count = std::to_string(files);
  ExpectWell("cd /mnt/large; test $(ls -f | wc -l) = " + std::to_string(files + 2) +
             "; test $(ls -f | sort -u | wc -l) = " + std::to_string(files + 2) +
             "; test $(find . -type f -size 0 | wc -l) = " + count);
}

// The whole in the guest: its kernel has no FUSE, and an NFS client.
TEST_F(KernelClient, BrokersMountByThemselves) {
  ExpectWell("BIN=" + Programs() + " bash -x " + InSource("mounts.sh"));
}

}  // namespace
}  // namespace airstore::nfs_test
