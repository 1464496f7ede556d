// SPDX-License-Identifier: Apache-2.0
//
// Quotas of a workspace.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "tests/e2e/support/host_test.h"

namespace airstore::e2e {
namespace {

constexpr uint64_t kMiB = 1u << 20;

class Quota : public MountTest {
 protected:
  nlohmann::json Set(const Arguments& quotas) {
    Arguments words = {"workspace",
                       "set",
                       "work",
                       "--gateway",
                       host().gateway_address(),
                       "--token-file",
                       host().admin_token_file()};
    words.insert(words.end(), quotas.begin(), quotas.end());
    return host().AirctlJson(words);
  }
  struct statvfs Free() {
    struct statvfs info {};
    EXPECT_EQ(statvfs(mount().c_str(), &info), 0);
    return info;
  }
};

TEST_F(Quota, InodesAreLimited) {
  Set({"--quota-inodes", "10"});
  RemountFresh();
  EXPECT_EQ(Free().f_files, 10u);
  EXPECT_EQ(Free().f_ffree, 9u) << "the root is one";
  for (int i = 0; i < 9; ++i) WriteFile(At("f" + std::to_string(i)), "x");
  EXPECT_EQ(ErrnoOf(open(At("more").c_str(), O_WRONLY | O_CREAT, 0644)), EDQUOT);
  EXPECT_EQ(ErrnoOf(mkdir(At("more").c_str(), 0755)), EDQUOT);
  EXPECT_EQ(ErrnoOf(symlink("x", At("more").c_str())), EDQUOT);
  EXPECT_EQ(ErrnoOf(mkfifo(At("more").c_str(), 0644)), EDQUOT);
  EXPECT_EQ(ErrnoOf(link(At("f0").c_str(), At("more").c_str())), 0) << "no inode";
  EXPECT_EQ(ErrnoOf(unlink(At("f1").c_str())), 0);
  EXPECT_EQ(ErrnoOf(mkdir(At("d").c_str(), 0755)), 0);
  EXPECT_EQ(ErrnoOf(mkdir(At("e").c_str(), 0755)), EDQUOT);
  Set({"--quota-inodes", "0"});
  EXPECT_EQ(ErrnoOf(mkdir(At("e").c_str(), 0755)), 0);
  RemountFresh();
  EXPECT_TRUE(Exists(At("e")));
}

TEST_F(Quota, BytesAreLimited) {
  Set({"--quota-bytes", "4MiB"});
  RemountFresh();
  EXPECT_EQ(Free().f_blocks * Free().f_frsize, 4 * kMiB);
  WriteFile(At("a"), RandomBytes(1, 3 * kMiB));
  ASSERT_EQ(fsync(Open(At("a"), O_RDONLY).get()), 0);
  {
    const UniqueFd file = Open(At("b"), O_WRONLY | O_CREAT);
    WriteAt(file.get(), RandomBytes(2, 2 * kMiB), 0);
    EXPECT_EQ(ErrnoOf(fsync(file.get())), EDQUOT);
  }
  EXPECT_EQ(Stat(At("b")).st_size, static_cast<off_t>(2 * kMiB)) << "it stays here";
  EXPECT_EQ(ReadFile(At("b")), RandomBytes(2, 2 * kMiB));
  // Room is made, and what was refused is sent with the next fsync.
  ASSERT_EQ(truncate(At("a").c_str(), kMiB), 0);
  {
    const UniqueFd file = Open(At("b"), O_RDWR);
    // The close has tried again, more than once perhaps; each refusal is told.
    EXPECT_TRUE(WaitUntil(std::chrono::seconds(10), [&] {
      const int error = ErrnoOf(fsync(file.get()));
      EXPECT_TRUE(error == 0 || error == EDQUOT) << strerror(error);
      return error == 0;
    }));
  }
  RemountFresh();
  EXPECT_EQ(ReadFile(At("b")), RandomBytes(2, 2 * kMiB));
  EXPECT_EQ(Stat(At("a")).st_size, static_cast<off_t>(kMiB));
}

// What is written after a refusal is on its way when nobody has the file open any more.
TEST_F(Quota, WhatComesAfterARefusalIsKeptToo) {
  Set({"--quota-bytes", "4MiB"});
  RemountFresh();
  WriteFile(At("a"), RandomBytes(1, 3 * kMiB));
  ASSERT_EQ(fsync(Open(At("a"), O_RDONLY).get()), 0);
  UniqueFd file = Open(At("b"), O_WRONLY | O_CREAT);
  WriteAt(file.get(), RandomBytes(2, 2 * kMiB), 0);
  EXPECT_EQ(ErrnoOf(fsync(file.get())), EDQUOT);
  host().FreezeGateway();
  WriteAt(file.get(), "new", 0);
  file.reset();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));  // it is on its way
  for (int times = 0; times < 3; ++times) Open(At("b"), O_RDONLY).reset();
  host().ThawGateway();
  const std::string wanted = "new" + RandomBytes(2, 2 * kMiB).substr(3);
  EXPECT_TRUE(WaitUntil(std::chrono::seconds(20), [&] {
    const nlohmann::json items = host().AirctlJson({"recover"}).at("items");
    return std::any_of(items.begin(), items.end(), [&](const nlohmann::json& item) {
      return ReadFile(item.at("location").get<std::string>()) == wanted;
    });
  })) << host().AirctlJson({"recover"});
}

TEST_F(Quota, WhatIsCutUntilItFitsArrives) {
  Set({"--quota-bytes", "4MiB"});
  RemountFresh();
  WriteFile(At("a"), RandomBytes(1, 3 * kMiB));
  ASSERT_EQ(fsync(Open(At("a"), O_RDONLY).get()), 0);
  {
    const UniqueFd file = Open(At("b"), O_WRONLY | O_CREAT);
    WriteAt(file.get(), RandomBytes(2, 2 * kMiB), 0);
    EXPECT_EQ(ErrnoOf(fsync(file.get())), EDQUOT);
    ASSERT_EQ(ftruncate(file.get(), 500'000), 0);
    EXPECT_EQ(ErrnoOf(fsync(file.get())), 0);
  }
  {
    const UniqueFd file = Open(At("c"), O_WRONLY | O_CREAT);
    WriteAt(file.get(), RandomBytes(3, 2 * kMiB), 0);
    EXPECT_EQ(ErrnoOf(fsync(file.get())), EDQUOT);
    ASSERT_EQ(ftruncate(file.get(), 200'000), 0);
  }
  ASSERT_TRUE(WaitUntil(std::chrono::seconds(10),
                        [&] { return host().AirctlJson({"dirty"}).at("files").empty(); }));
  RemountFresh();
  EXPECT_TRUE(ReadFile(At("b")) == RandomBytes(2, 2 * kMiB).substr(0, 500'000));
  EXPECT_TRUE(ReadFile(At("c")) == RandomBytes(3, 2 * kMiB).substr(0, 200'000));
}

TEST_F(Quota, AFullWorkspaceTakesNoWriters) {
  Set({"--quota-bytes", "1MiB"});
  RemountFresh();
  WriteFile(At("a"), RandomBytes(1, kMiB));
  ASSERT_EQ(fsync(Open(At("a"), O_RDONLY).get()), 0);
  EXPECT_TRUE(WaitUntil(std::chrono::seconds(10), [&] { return Free().f_bavail == 0; }));
  EXPECT_EQ(ErrnoOf(open(At("b").c_str(), O_WRONLY | O_CREAT, 0644)), EDQUOT);
  EXPECT_EQ(ErrnoOf(open(At("a").c_str(), O_WRONLY)), EDQUOT);
  EXPECT_EQ(ErrnoOf(open(At("a").c_str(), O_RDONLY)), 0);
  EXPECT_EQ(ErrnoOf(mkdir(At("d").c_str(), 0755)), 0);
  EXPECT_EQ(ErrnoOf(truncate(At("a").c_str(), 10)), 0);
  EXPECT_EQ(ErrnoOf(open(At("b").c_str(), O_WRONLY | O_CREAT, 0644)), 0) << "there is room again";
}

TEST_F(Quota, HolesAreFree) {
  Set({"--quota-bytes", "1MiB"});
  RemountFresh();
  const UniqueFd file = Open(At("sparse"), O_RDWR | O_CREAT);
  WriteAt(file.get(), "x", static_cast<off_t>(100 * kMiB));
  EXPECT_EQ(ErrnoOf(fsync(file.get())), 0);
}

TEST_F(Quota, IsShownAndChecked) {
  const auto list = Set({"--quota-bytes", "10GiB", "--quota-inodes", "1000"});
  EXPECT_EQ(list.at("workspaces").at(0).at("quota_bytes"), 10ull << 30);
  EXPECT_EQ(list.at("workspaces").at(0).at("quota_inodes"), 1000);
  EXPECT_EQ(host()
                .Airctl({"workspace", "set", "none", "--quota-bytes", "1", "--gateway",
                         host().gateway_address(), "--token-file", host().admin_token_file()})
                .code,
            3);
  EXPECT_EQ(host()
                .Airctl({"workspace", "create", "x", "--quota-bytes", "many", "--gateway",
                         host().gateway_address(), "--token-file", host().admin_token_file()})
                .code,
            2);
}

}  // namespace
}  // namespace airstore::e2e
