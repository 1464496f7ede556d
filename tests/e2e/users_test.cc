// SPDX-License-Identifier: Apache-2.0
//
// Ordinary users: with the system's broker, and with one of their own that mounts by fusermount3.
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <filesystem>

#include "tests/e2e/support/host_test.h"

namespace airstore::e2e {
namespace {

constexpr uid_t kUser = 65534;
constexpr uid_t kOther = 65533;

class Users : public HostTest {
 protected:
  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    host().CreateWorkspace("work");
    directory_ = OwnedBy(kUser, "mine");
    token_ = host().Path("work.token");
    user_token_ = host().Path("user.token");
    std::filesystem::copy_file(token_, user_token_);
    (void)chown(user_token_.c_str(), kUser, kUser);
    chmod(user_token_.c_str(), 0600);
    // Others go through it.
    chmod(host().Path("state").c_str(), 0755);
  }
  std::string OwnedBy(uid_t uid, const std::string& name) {
    const std::string path = host().Path(name);
    mkdir(path.c_str(), 0755);
    (void)chown(path.c_str(), uid, uid);
    return path;
  }
  Finished As(uid_t uid, const Arguments& words) {
    return host().Airctl(words, {.env = {{"HOME", "/nonexistent"}}, .uid = uid});
  }
  static Finished Shell(uid_t uid, const std::string& command, pid_t in_namespace_of = 0) {
    return RunProgram({"/bin/sh", "-ec", command},
                      {.uid = uid, .mount_namespace_of = in_namespace_of});
  }
  std::string directory_;
  std::string token_;
  std::string user_token_;
};

TEST_F(Users, MountThroughTheSystemsBroker) {
  const Finished mounted = As(kUser, {"mount", directory_, "--token-file", user_token_});
  ASSERT_EQ(mounted.code, 0) << mounted.All();
  EXPECT_EQ(host().MountStatus(directory_).at("owner_uid"), kUser);
  const auto pid = std::to_string(host().MountStatus(directory_).at("frontend_pid").get<pid_t>());
  EXPECT_EQ(Stat("/proc/" + pid).st_uid, kUser) << "the frontend runs as the user";
  // The tree is root's, as the gateway has it.
  chmod(directory_.c_str(), 0777);
  const Finished wrote = Shell(kUser, "cd " + directory_ + " && echo hello > f && cat f");
  EXPECT_EQ(wrote.out, "hello\n") << wrote.All();
  const Finished unmounted = As(kUser, {"unmount", directory_});
  EXPECT_EQ(unmounted.code, 0) << unmounted.All();
}

TEST_F(Users, CannotMountOnDirectoriesOfOthers) {
  const std::string others = OwnedBy(kOther, "others");
  const Finished mounted = As(kUser, {"mount", others, "--token-file", user_token_});
  EXPECT_EQ(mounted.code, 5) << mounted.All();
  EXPECT_NE(mounted.err.find(others), std::string::npos) << mounted.All();
}

// While the broker waits for the gateway, the user has the directory's name lead elsewhere.
TEST_F(Users, CannotHaveTheirMountMadeElsewhere) {
  const std::string roots = OwnedBy(0, "roots");
  host().FreezeGateway();
  Process mounting({Program("airctl"), "--socket", host().socket(), "mount", "-v", directory_,
                    "--token-file", user_token_, "--gateway", host().gateway_address()},
                   {.uid = kUser, .output_file = host().Path("mounting")});
  ASSERT_TRUE(WaitUntil(std::chrono::seconds(20), [&] {
    return ReadFile(host().Path("mounting")).find("opening workspace") != std::string::npos;
  })) << ReadFile(host().Path("mounting"));
  std::filesystem::rename(directory_, host().Path("moved"));
  ASSERT_EQ(symlink(roots.c_str(), directory_.c_str()), 0);
  host().ThawGateway();
  EXPECT_NE(mounting.Wait(std::chrono::seconds(60)), 0);
  EXPECT_NE(ReadFile(host().Path("mounting")).find("was moved"), std::string::npos)
      << ReadFile(host().Path("mounting"));
  EXPECT_EQ(ReadFile("/proc/self/mountinfo").find(" " + roots + " "), std::string::npos);
  EXPECT_EQ(ReadFile("/proc/self/mountinfo").find(host().Path("moved")), std::string::npos);
}

TEST_F(Users, AreNotToldWhatTheyCannotSee) {
  mkdir(host().Path("private").c_str(), 0700);
  mkdir(host().Path("private/there").c_str(), 0755);
  for (const char* name : {"private/there", "private/missing"}) {
    const Finished mounted = As(kUser, {"mount", host().Path(name), "--token-file", user_token_});
    EXPECT_EQ(mounted.code, 5) << mounted.All();
    EXPECT_EQ(mounted.err.find("does not exist"), std::string::npos) << mounted.All();
  }
}

TEST_F(Users, SeeAndStopTheirOwnMountsOnly) {
  const std::string roots = host().Mount("work", "roots");
  ASSERT_EQ(As(kUser, {"mount", directory_, "--token-file", user_token_}).code, 0);
  const auto mounts = [&](uid_t uid) {
    const Finished status = As(uid, {"--json", "status"});
    EXPECT_EQ(status.code, 0) << status.All();
    std::set<std::string> paths;
    const auto json = nlohmann::json::parse(status.out);
    for (const auto& mount : json.at("mounts")) paths.insert(mount.at("mountpoint"));
    return paths;
  };
  EXPECT_EQ(mounts(0), (std::set<std::string>{directory_, roots}));
  EXPECT_EQ(mounts(kUser), std::set<std::string>{directory_});
  EXPECT_EQ(mounts(kOther), std::set<std::string>{});
  EXPECT_EQ(As(kOther, {"unmount", directory_}).code, 3);
  EXPECT_NE(As(kOther, {"unmount", "--force", directory_}).code, 0);
  EXPECT_EQ(As(kUser, {"status", roots}).code, 3);
  EXPECT_EQ(As(kUser, {"unmount", roots}).code, 3);
  EXPECT_EQ(mounts(0), (std::set<std::string>{directory_, roots}));
  EXPECT_EQ(As(kUser, {"unmount", directory_}).code, 0);
}

class UsersKeptOut : public Users {
 protected:
  HostOptions Options() const override {
    HostOptions options;
    options.environment = {{"AIRSTORE_FUSE_ALLOW_OTHER", "false"}};
    return options;
  }
};

TEST_F(UsersKeptOut, WhereTheBrokerIsToldSo) {
  const std::string mine = host().Mount("work", "mnt");
  ASSERT_EQ(chmod(mine.c_str(), 0777), 0);
  WriteFile(mine + "/f", "x");
  const Finished others = Shell(kUser, "cat " + mine + "/f");
  EXPECT_NE(others.code, 0);
  EXPECT_NE(others.err.find("Permission denied"), std::string::npos) << others.All();
}

// /dev/fuse is often for root only; in a mount namespace of its own the user gets one for all.
TEST_F(Users, MountWithABrokerOfTheirOwn) {
  const UniqueFd helper(open("/usr/bin/fusermount3", O_RDONLY | O_CLOEXEC));
  if (!helper || (Stat("/usr/bin/fusermount3").st_mode & S_ISUID) == 0) {
    GTEST_SKIP() << "there is no fusermount3 that is setuid root";
  }
  const std::string node = host().Path("fuse");
  if (mknod(node.c_str(), S_IFCHR | 0666, makedev(10, 229)) != 0) {
    GTEST_SKIP() << "mknod of /dev/fuse is not permitted";
  }
  chmod(node.c_str(), 0666);
  const std::string state = OwnedBy(kUser, "user-state");
  Process broker({"unshare", "--mount", "--propagation", "private", "/bin/sh", "-ec",
                  "mount --bind '" + node +
                      "' /dev/fuse; exec setpriv --reuid 65534 --regid 65534 "
                      "--clear-groups env HOME='" +
                      state + "' '" + Program("airstored") + "' --state-dir '" + state +
                      "/airstore' --gateway " + host().gateway_address()},
                 {.output_file = host().Path("user-broker.log")});
  const std::string socket = state + "/airstore/control.sock";
  const auto airctl = [&](Arguments words) {
    words.insert(words.begin(), {Program("airctl"), "--socket", socket});
    return RunProgram(words, {.uid = kUser, .mount_namespace_of = broker.pid()});
  };
  ASSERT_TRUE(WaitUntil(std::chrono::seconds(20), [&] {
    return !broker.running() || (Exists(socket) && airctl({"status"}).code == 0);
  }));
  ASSERT_TRUE(broker.running()) << ReadFile(host().Path("user-broker.log"));
  const Finished mounted = airctl({"mount", directory_, "--token-file", user_token_, "--uid",
                                   std::to_string(kUser), "--gid", std::to_string(kUser)});
  ASSERT_EQ(mounted.code, 0) << mounted.All() << ReadFile(host().Path("user-broker.log"));
  const Finished wrote =
      Shell(kUser, "cd " + directory_ + " && echo hello > f && mkdir d && mv f d && cat d/f",
            broker.pid());
  EXPECT_EQ(wrote.out, "hello\n") << wrote.All();
  const Finished root = Shell(0, "ls " + directory_, broker.pid());
  EXPECT_NE(root.code, 0) << "others may not look in";
  const Finished unmounted = airctl({"unmount", directory_});
  EXPECT_EQ(unmounted.code, 0) << unmounted.All();
  broker.Signal(SIGTERM);
  EXPECT_EQ(broker.Wait(std::chrono::seconds(30)), 0) << ReadFile(host().Path("user-broker.log"));
  const std::string checked = host().Mount("work", "checked");
  EXPECT_EQ(ReadFile(checked + "/d/f"), "hello\n");
}

}  // namespace
}  // namespace airstore::e2e
