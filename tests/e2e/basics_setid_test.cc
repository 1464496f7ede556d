// SPDX-License-Identifier: Apache-2.0
//
// Set-id bits, inheritance of groups, umask, sticky directories, and the times that each operation
// changes.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <functional>

#include "tests/e2e/basics.h"

namespace airstore::e2e {
namespace {

constexpr uid_t kUser = 65534;

class BasicsSetId : public Basics {
 protected:
  void MakeOpen(const std::string& name, mode_t mode) {
    WriteFile(At(name), "content");
    ASSERT_EQ(chmod(At(name).c_str(), mode), 0);
  }
  mode_t ModeOf(const std::string& name) { return Stat(At(name)).st_mode & 07777; }
  Finished AsUser(const std::string& command) {
    return RunProgram({"/bin/sh", "-ec", command}, {.directory = mount(), .uid = kUser});
  }
};

TEST_F(BasicsSetId, AWriteTakesSetIdBits) {
  std::string second;
  for (const char* other : {"", "with another mount"}) {
    SCOPED_TRACE(other);
    if (*other != '\0') second = host().Mount("work", "mnt2");
    MakeOpen("f", 06777);
    MakeOpen("big", 06777);
    { WriteAt(Open(At("big"), O_WRONLY).get(), RandomBytes(1, 200'000), 0); }
    EXPECT_EQ(ModeOf("big"), 06777u) << "root may";
    EXPECT_EQ(AsUser("echo x >> f; echo y >> big").code, 0);
    EXPECT_EQ(ModeOf("f"), 0777u);
    EXPECT_EQ(ModeOf("big"), 0777u);
    chmod(At("f").c_str(), 06777);
    EXPECT_EQ(AsUser(": > f").code, 0) << "O_TRUNC";
    EXPECT_EQ(ModeOf("f"), 0777u);
    chmod(At("f").c_str(), 06777);
    EXPECT_EQ(AsUser("truncate -s 3 f").code, 0);
    EXPECT_EQ(ModeOf("f"), 0777u);
    chmod(At("f").c_str(), 02666);
    EXPECT_EQ(AsUser("echo x >> f").code, 0);
    EXPECT_EQ(ModeOf("f") & S_ISUID, 0u);
  }
  const mode_t f = ModeOf("f");
  host().Unmount(second);
  RemountFresh();
  EXPECT_EQ(ModeOf("f"), f);
  EXPECT_EQ(ModeOf("big"), 0777u);
}

TEST_F(BasicsSetId, AChangeOfOwnerTakesSetIdBits) {
  MakeOpen("f", 06755);
  ASSERT_EQ(chown(At("f").c_str(), kUser, kUser), 0);
  EXPECT_EQ(ModeOf("f"), 0755u);
  chmod(At("f").c_str(), 06755);
  ASSERT_EQ(chown(At("f").c_str(), static_cast<uid_t>(-1), static_cast<gid_t>(-1)), 0);
  EXPECT_EQ(ModeOf("f"), 0755u) << "also one that changes nothing";
  mkdir(At("d").c_str(), 0755);
  chmod(At("d").c_str(), 06755);
  ASSERT_EQ(chown(At("d").c_str(), kUser, kUser), 0);
  EXPECT_EQ(ModeOf("d"), 06755u) << "directories keep them";
  RemountFresh();
  EXPECT_EQ(ModeOf("f"), 0755u);
  EXPECT_EQ(ModeOf("d"), 06755u);
}

TEST_F(BasicsSetId, GroupsAreInherited) {
  mkdir(At("d").c_str(), 0777);
  (void)chown(At("d").c_str(), 0, 4711);
  chmod(At("d").c_str(), 02777);
  EXPECT_EQ(AsUser("umask 022; touch d/f; mkdir d/sub; ln -s x d/l").code, 0);
  const auto check = [&] {
    for (const char* name : {"d/f", "d/sub", "d/l"}) {
      EXPECT_EQ(Stat(At(name)).st_gid, 4711u) << name;
      EXPECT_EQ(Stat(At(name)).st_uid, kUser) << name;
    }
    EXPECT_EQ(ModeOf("d/sub"), 02755u);
    EXPECT_EQ(ModeOf("d/f"), 0644u);
  };
  check();
  RemountFresh();
  check();
  EXPECT_EQ(AsUser("python3 -c 'import os; os.close(os.open(\"d/x\", os.O_CREAT, 0o2770))'").code,
            0);
  EXPECT_EQ(ModeOf("d/x") & S_ISGID, 0u) << "not in that group";
}

TEST_F(BasicsSetId, HonoursTheUmask) {
  chmod(mount().c_str(), 0777);
  EXPECT_EQ(AsUser("umask 027; touch f; mkdir d; mkfifo p").code, 0);
  EXPECT_EQ(ModeOf("f"), 0640u);
  EXPECT_EQ(ModeOf("d"), 0750u);
  EXPECT_EQ(ModeOf("p"), 0640u);
  const mode_t before = umask(0);
  Open(At("all"), O_WRONLY | O_CREAT, 0666);
  umask(before);
  EXPECT_EQ(ModeOf("all"), 0666u);
}

TEST_F(BasicsSetId, StickyDirectoriesProtectTheFilesOfOthers) {
  mkdir(At("tmp").c_str(), 0777);
  chmod(At("tmp").c_str(), 01777);
  WriteFile(At("tmp/roots"), "x");
  chmod(At("tmp/roots").c_str(), 0666);
  EXPECT_NE(AsUser("rm -f tmp/roots").code, 0);
  EXPECT_NE(AsUser("mv tmp/roots tmp/x").code, 0);
  EXPECT_EQ(AsUser("touch tmp/mine && mv tmp/mine tmp/m && rm tmp/m").code, 0);
}

TEST_F(BasicsSetId, EachOperationChangesItsTimes) {
  mkdir(At("d").c_str(), 0755);
  WriteFile(At("d/f"), "content");
  const timespec past[2] = {{1000, 0}, {1000, 0}};
  struct Changed {
    bool mtime, ctime;
    bool operator==(const Changed&) const = default;
  };
  const auto changed = [&](const std::string& name, const std::function<void()>& operation) {
    EXPECT_EQ(utimensat(AT_FDCWD, At(name).c_str(), past, 0), 0);
    const struct stat before = Stat(At(name));
    operation();
    const struct stat after = Stat(At(name));
    return Changed{after.st_mtim.tv_sec != 1000,
                   after.st_ctim.tv_sec != before.st_ctim.tv_sec ||
                       after.st_ctim.tv_nsec != before.st_ctim.tv_nsec};
  };
  const Changed none{false, false}, inode{false, true}, both{true, true};
  const auto f = At("d/f");
  EXPECT_EQ(changed("d/f", [&] { ReadFile(f); }), none);
  EXPECT_EQ(changed("d/f", [&] { chmod(f.c_str(), 0600); }), inode);
  EXPECT_EQ(changed("d/f", [&] { (void)chown(f.c_str(), 1, 1); }), inode);
  EXPECT_EQ(changed("d/f", [&] { (void)link(f.c_str(), At("d/g").c_str()); }), inode);
  EXPECT_EQ(changed("d/f", [&] { unlink(At("d/g").c_str()); }), inode);
  EXPECT_EQ(
      changed("d/f",
              [&] { rename(f.c_str(), At("d/h").c_str()), rename(At("d/h").c_str(), f.c_str()); }),
      inode);
  EXPECT_EQ(changed("d/f", [&] { (void)truncate(f.c_str(), 3); }), both);
  EXPECT_EQ(changed("d/f", [&] { Open(f, O_WRONLY | O_TRUNC); }), both);
  EXPECT_EQ(changed("d/f", [&] { WriteAt(Open(f, O_WRONLY).get(), "x", 0); }), both);
  EXPECT_EQ(changed("d", [&] { chmod(f.c_str(), 0644); }), none);
  EXPECT_EQ(changed("d", [&] { WriteFile(At("d/new"), ""); }), both);
  EXPECT_EQ(changed("d", [&] { unlink(At("d/new").c_str()); }), both);
  EXPECT_EQ(changed("d", [&] { mkdir(At("d/sub").c_str(), 0755); }), both);
  EXPECT_EQ(changed("d", [&] { rmdir(At("d/sub").c_str()); }), both);
  EXPECT_EQ(changed("d", [&] { rename(f.c_str(), At("d/z").c_str()); }), both);
}

TEST_F(BasicsSetId, SetsTimesByHalves) {
  WriteFile(At("f"), "x");
  const timespec past[2] = {{1000, 111}, {2000, 222}};
  ASSERT_EQ(utimensat(AT_FDCWD, At("f").c_str(), past, 0), 0);
  const timespec omit_first[2] = {{0, UTIME_OMIT}, {3000, 999'999'999}};
  ASSERT_EQ(utimensat(AT_FDCWD, At("f").c_str(), omit_first, 0), 0);
  EXPECT_EQ(Stat(At("f")).st_atim.tv_nsec, 111);
  EXPECT_EQ(Stat(At("f")).st_mtim.tv_nsec, 999'999'999);
  const timespec now_first[2] = {{0, UTIME_NOW}, {0, UTIME_OMIT}};
  ASSERT_EQ(utimensat(AT_FDCWD, At("f").c_str(), now_first, 0), 0);
  EXPECT_GT(Stat(At("f")).st_atim.tv_sec, 1'000'000'000);
  EXPECT_EQ(Stat(At("f")).st_mtim.tv_sec, 3000);
  const timespec early[2] = {{-5, 500}, {-1, 1}};
  ASSERT_EQ(utimensat(AT_FDCWD, At("f").c_str(), early, 0), 0);
  RemountFresh();
  EXPECT_EQ(Stat(At("f")).st_atim.tv_sec, -5);
  EXPECT_EQ(Stat(At("f")).st_mtim.tv_sec, -1);
  EXPECT_EQ(Stat(At("f")).st_mtim.tv_nsec, 1);
}

}  // namespace
}  // namespace airstore::e2e
