// SPDX-License-Identifier: Apache-2.0
//
// Mounts in which root is nobody: what the kernel does not check there, the frontend does.
#include <fcntl.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>

#include "tests/e2e/support/host_test.h"
#include "tests/posix/caller.h"

namespace airstore::e2e {
namespace {

using posix::ActingAs;
using posix::kGroup;
using posix::kOther;
using posix::kOwner;

constexpr uid_t kNobody = 65534;

// The workspace twice: as it is, and with root squashed.
class Squash : public HostTest {
 protected:
  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    host().CreateWorkspace("work");
    plain_ = host().Mount("work", "plain");
    squashed_ = host().Mount("work", "squashed", {"--root-squash"});
    ASSERT_EQ(chmod(plain_.c_str(), 0777), 0);
  }
  void TearDown() override {
    if (!plain_.empty()) (void)chmod(plain_.c_str(), 0777);
  }

  std::string Plain(const std::string& name) const { return plain_ + "/" + name; }
  std::string At(const std::string& name) const { return squashed_ + "/" + name; }
  // Of somebody with a file "f" of that content.
  void MakeFile(const std::string& name, mode_t mode, uid_t uid = kOwner, gid_t gid = kGroup) {
    WriteFile(Plain(name), "content");
    ASSERT_EQ(chown(Plain(name).c_str(), uid, gid), 0);
    ASSERT_EQ(chmod(Plain(name).c_str(), mode), 0);
  }
  void MakeDirectory(const std::string& name, mode_t mode, uid_t uid = kOwner) {
    ASSERT_EQ(mkdir(Plain(name).c_str(), 0755), 0);
    ASSERT_EQ(chown(Plain(name).c_str(), uid, kGroup), 0);
    ASSERT_EQ(chmod(Plain(name).c_str(), mode), 0);
  }
  static int OpenError(const std::string& path, int flags) {
    const UniqueFd file(open(path.c_str(), flags | O_CLOEXEC, 0644));
    return file ? 0 : errno;
  }
  static int StatError(const std::string& path) {
    struct stat st {};
    return ErrnoOf(lstat(path.c_str(), &st));
  }
  static int AccessError(const std::string& path, int wanted) {
    return ErrnoOf(access(path.c_str(), wanted));
  }

  std::string plain_;
  std::string squashed_;
};

TEST_F(Squash, RootMayWhatAnybodyMay) {
  MakeFile("secret", 0600);
  MakeFile("public", 0644);
  EXPECT_EQ(OpenError(Plain("secret"), O_RDONLY), 0);
  EXPECT_EQ(OpenError(At("secret"), O_RDONLY), EACCES);
  EXPECT_EQ(OpenError(At("secret"), O_WRONLY), EACCES);
  EXPECT_EQ(ReadFile(At("public")), "content");
  EXPECT_EQ(OpenError(At("public"), O_WRONLY), EACCES);
  EXPECT_EQ(OpenError(At("public"), O_RDONLY | O_TRUNC), EACCES);
  EXPECT_EQ(OpenError(At("public"), O_RDONLY | O_NOATIME), EPERM);
  EXPECT_EQ(Stat(At("secret")).st_size, 7);
  EXPECT_EQ(ErrnoOf(truncate(At("public").c_str(), 1)), EACCES);
  EXPECT_EQ(ReadFile(Plain("public")), "content");
}

TEST_F(Squash, WhatRootMakesIsNobodys) {
  WriteFile(At("file"), "of nobody");
  ASSERT_EQ(mkdir(At("dir").c_str(), 0755), 0);
  ASSERT_EQ(symlink("file", At("link").c_str()), 0);
  ASSERT_EQ(mkfifo(At("fifo").c_str(), 0644), 0);
  EXPECT_EQ(ErrnoOf(mknod(At("device").c_str(), S_IFCHR | 0600, makedev(1, 3))), EPERM);
  const UniqueFd nameless(open(squashed_.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  ASSERT_TRUE(nameless) << strerror(errno);
  ASSERT_EQ(linkat(nameless.get(), "", AT_FDCWD, At("named").c_str(), AT_EMPTY_PATH), 0);
  for (const char* const name : {"file", "dir", "link", "fifo", "named"}) {
    EXPECT_EQ(Stat(Plain(name)).st_uid, kNobody) << name;
    EXPECT_EQ(Stat(Plain(name)).st_gid, kNobody) << name;
    EXPECT_EQ(Stat(At(name)).st_uid, kNobody) << name;
  }
  // They are its owner's, for root too.
  EXPECT_EQ(ReadFile(At("file")), "of nobody");
  EXPECT_EQ(chmod(At("file").c_str(), 0600), 0);
  EXPECT_EQ(ReadFile(At("file")), "of nobody");
  EXPECT_EQ(unlink(At("named").c_str()), 0);
  {
    const ActingAs other(posix::Other());
    EXPECT_EQ(OpenError(At("file"), O_RDONLY), EACCES);
  }
  // As it is open, it may be written to, whatever its mode.
  const UniqueFd file(open(At("new").c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0444));
  ASSERT_TRUE(file) << strerror(errno);
  WriteAt(file.get(), "written", 0);
  EXPECT_EQ(OpenError(At("new"), O_WRONLY), EACCES);
}

TEST_F(Squash, RootChangesNoAttributesOfOthers) {
  MakeFile("file", 0666);
  const std::string path = At("file");
  EXPECT_EQ(ErrnoOf(chown(path.c_str(), 0, 0)), EPERM);
  EXPECT_EQ(ErrnoOf(chown(path.c_str(), kNobody, static_cast<gid_t>(-1))), EPERM);
  EXPECT_EQ(ErrnoOf(chmod(path.c_str(), 0777)), EPERM);
  const timespec then[2] = {{1, 0}, {1, 0}};
  EXPECT_EQ(ErrnoOf(utimensat(AT_FDCWD, path.c_str(), then, 0)), EPERM);
  EXPECT_EQ(utimensat(AT_FDCWD, path.c_str(), nullptr, 0), 0);  // who may write may do that
  EXPECT_EQ(setxattr(path.c_str(), "user.a", "1", 1, 0), 0);
  EXPECT_EQ(ErrnoOf(setxattr(path.c_str(), "trusted.a", "1", 1, 0)), EPERM);
  EXPECT_EQ(ErrnoOf(setxattr(path.c_str(), "security.a", "1", 1, 0)), EPERM);
  ASSERT_EQ(setxattr(Plain("file").c_str(), "trusted.a", "1", 1, 0), 0);
  EXPECT_EQ(ErrnoOf(getxattr(path.c_str(), "trusted.a", nullptr, 0)), ENODATA);
  EXPECT_EQ(listxattr(path.c_str(), nullptr, 0), 7);  // user.a
  WriteFile(At("own"), "x");
  EXPECT_EQ(ErrnoOf(chown(At("own").c_str(), 0, static_cast<gid_t>(-1))), EPERM);
  EXPECT_EQ(ErrnoOf(chown(At("own").c_str(), static_cast<uid_t>(-1), 0)), EPERM);
  EXPECT_EQ(chown(At("own").c_str(), kNobody, kNobody), 0);
  EXPECT_EQ(utimensat(AT_FDCWD, At("own").c_str(), then, 0), 0);
  EXPECT_EQ(Stat(Plain("own")).st_mtim.tv_sec, 1);
}

TEST_F(Squash, RootRemovesNothingOfOthers) {
  MakeDirectory("closed", 0755);
  MakeDirectory("sticky", 01777);
  MakeDirectory("sticky/dir", 0755);
  MakeFile("closed/f", 0644);
  MakeFile("sticky/f", 0644);
  EXPECT_EQ(ErrnoOf(unlink(At("closed/f").c_str())), EACCES);
  EXPECT_EQ(ErrnoOf(unlink(At("sticky/f").c_str())), EPERM);
  EXPECT_EQ(ErrnoOf(rmdir(At("sticky/dir").c_str())), EPERM);
  EXPECT_EQ(ErrnoOf(rename(At("sticky/f").c_str(), At("sticky/g").c_str())), EPERM);
  EXPECT_EQ(ErrnoOf(rename(At("closed/f").c_str(), At("g").c_str())), EACCES);
  EXPECT_EQ(ErrnoOf(mkdir(At("closed/new").c_str(), 0755)), EACCES);
  EXPECT_EQ(OpenError(At("closed/new"), O_CREAT | O_WRONLY), EACCES);
  EXPECT_EQ(ErrnoOf(link(At("closed/f").c_str(), At("closed/g").c_str())), EACCES);
  EXPECT_EQ(ErrnoOf(symlink("x", At("closed/g").c_str())), EACCES);
  // A directory of somebody else, to another parent: its ".." is not ours to change.
  MakeDirectory("from", 0777);
  MakeDirectory("from/dir", 0755);
  EXPECT_EQ(ErrnoOf(rename(At("from/dir").c_str(), At("dir").c_str())), EACCES);
  EXPECT_EQ(rename(At("from/dir").c_str(), At("from/moved").c_str()), 0);
  WriteFile(At("sticky/own"), "x");
  EXPECT_EQ(rename(At("sticky/own").c_str(), At("sticky/mine").c_str()), 0);
  EXPECT_EQ(unlink(At("sticky/mine").c_str()), 0);
}

TEST_F(Squash, NoPathLeadsThroughAClosedDirectory) {
  MakeDirectory("home", 0700);
  MakeDirectory("home/sub", 0755);
  MakeFile("home/sub/file", 0644);
  MakeDirectory("blind", 0711);
  MakeFile("blind/file", 0644);
  const auto refused = [&] {
    EXPECT_EQ(StatError(At("home/sub/file")), EACCES);
    EXPECT_EQ(OpenError(At("home/sub/file"), O_RDONLY), EACCES);
    EXPECT_EQ(StatError(At("home/sub")), EACCES);
    EXPECT_EQ(StatError(At("home/none")), EACCES);
    EXPECT_EQ(OpenError(At("home"), O_RDONLY | O_DIRECTORY), EACCES);
    EXPECT_EQ(AccessError(At("home/sub/file"), R_OK), EACCES);
  };
  refused();
  {
    const ActingAs owner(posix::Owner());
    // Now the kernel has the names.
    EXPECT_EQ(ReadFile(At("home/sub/file")), "content");
    EXPECT_EQ(NamesIn(At("home")), std::set<std::string>{"sub"});
    EXPECT_EQ(StatError(At("home/none")), ENOENT);
  }
  refused();
  {
    const ActingAs owner(posix::Owner());
    EXPECT_EQ(ReadFile(At("home/sub/file")), "content");
  }
  refused();
  EXPECT_EQ(ReadFile(At("blind/file")), "content");
  EXPECT_EQ(OpenError(At("blind"), O_RDONLY | O_DIRECTORY), EACCES);
  // What is open already stays open.
  ASSERT_EQ(chmod(Plain("home").c_str(), 0755), 0);
  const UniqueFd directory(open(At("home/sub").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const UniqueFd file(open(At("home/sub/file").c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(chmod(Plain("home").c_str(), 0700), 0);
  ASSERT_EQ(chmod(Plain("home/sub/file").c_str(), 0), 0);
  refused();
  EXPECT_EQ(ReadSome(file.get(), 7, 0), "content");
  struct stat st {};
  EXPECT_EQ(fstatat(directory.get(), "file", &st, 0), 0);
  ASSERT_EQ(chmod(Plain("home/sub").c_str(), 0600), 0);
  EXPECT_EQ(ErrnoOf(fstatat(directory.get(), "file", &st, 0)), EACCES);
}

// What the kernel makes of a refusal: it drops the name, until somebody looks it up again.
TEST_F(Squash, ARefusalDropsTheName) {
  MakeDirectory("home", 0700);
  MakeDirectory("home/sub", 0755);
  {
    const ActingAs owner(posix::Owner());
    ASSERT_EQ(chdir(At("home/sub").c_str()), 0);
    EXPECT_EQ(std::filesystem::current_path(), At("home/sub"));
  }
  EXPECT_EQ(StatError(At("home/sub")), EACCES);
  {
    const ActingAs owner(posix::Owner());
    char path[4096];
    EXPECT_EQ(getcwd(path, sizeof(path)), nullptr);
    EXPECT_EQ(errno, ENOENT);
    WriteFile("made", "x");
    EXPECT_EQ(StatError(At("home/sub/made")), 0);
    EXPECT_EQ(std::filesystem::current_path(), At("home/sub"));
  }
  ASSERT_EQ(chdir("/"), 0);
}

TEST_F(Squash, UsersAreThemselves) {
  MakeDirectory("home", 0700);
  MakeFile("home/secret", 0600);
  MakeFile("shared", 0640);
  MakeFile("groups", 0660, kOther, posix::kThirdGroup);
  {
    const ActingAs owner(posix::Owner());
    EXPECT_EQ(ReadFile(At("home/secret")), "content");
    WriteFile(At("home/mine"), "x");
    EXPECT_EQ(Stat(At("home/mine")).st_uid, kOwner);
    EXPECT_EQ(Stat(At("home/mine")).st_gid, kGroup);
    EXPECT_EQ(chmod(At("home/mine").c_str(), 0640), 0);
    // A member of both, of one by a supplementary group.
    EXPECT_EQ(chown(At("home/mine").c_str(), static_cast<uid_t>(-1), posix::kThirdGroup), 0);
    EXPECT_EQ(ErrnoOf(chown(At("home/mine").c_str(), static_cast<uid_t>(-1), posix::kOtherGroup)),
              EPERM);
    EXPECT_EQ(OpenError(At("groups"), O_RDWR), 0);
    EXPECT_EQ(AccessError(At("groups"), W_OK), 0);
  }
  {
    const ActingAs member(posix::Member());
    EXPECT_EQ(ReadFile(At("shared")), "content");
    EXPECT_EQ(OpenError(At("shared"), O_WRONLY), EACCES);
    EXPECT_EQ(OpenError(At("home/secret"), O_RDONLY), EACCES);
  }
  {
    const ActingAs other(posix::Other());
    EXPECT_EQ(OpenError(At("shared"), O_RDONLY), EACCES);
    EXPECT_EQ(StatError(At("home/secret")), EACCES);
  }
}

TEST_F(Squash, AccessListsCount) {
  MakeFile("listed", 0600);
  const auto nobody = static_cast<uint32_t>(ACL_UNDEFINED_ID);
  const posix_acl_xattr_header header{POSIX_ACL_XATTR_VERSION};
  std::string list(reinterpret_cast<const char*>(&header), sizeof(header));
  for (const posix_acl_xattr_entry entry :
       {posix_acl_xattr_entry{ACL_USER_OBJ, 6, nobody}, posix_acl_xattr_entry{ACL_USER, 4, kNobody},
        posix_acl_xattr_entry{ACL_GROUP_OBJ, 0, nobody}, posix_acl_xattr_entry{ACL_MASK, 6, nobody},
        posix_acl_xattr_entry{ACL_OTHER, 0, nobody}}) {
    list.append(reinterpret_cast<const char*>(&entry), sizeof(entry));
  }
  constexpr const char* kAccess = "system.posix_acl_access";
  EXPECT_EQ(OpenError(At("listed"), O_RDONLY), EACCES);
  EXPECT_EQ(ErrnoOf(setxattr(At("listed").c_str(), kAccess, list.data(), list.size(), 0)), EPERM);
  {
    const ActingAs owner(posix::Owner());
    ASSERT_EQ(ErrnoOf(setxattr(At("listed").c_str(), kAccess, list.data(), list.size(), 0)), 0);
    EXPECT_EQ(Stat(At("listed")).st_mode & 0777, 0660u);
  }
  EXPECT_EQ(ReadFile(At("listed")), "content");
  EXPECT_EQ(OpenError(At("listed"), O_WRONLY), EACCES);
  EXPECT_EQ(getxattr(At("listed").c_str(), kAccess, nullptr, 0), static_cast<ssize_t>(list.size()));
  const ActingAs other(posix::Other());
  EXPECT_EQ(OpenError(At("listed"), O_RDONLY), EACCES);
}

TEST_F(Squash, ProgramsRunForWhoMay) {
  std::filesystem::copy_file("/bin/true", Plain("program"));
  ASSERT_EQ(chown(Plain("program").c_str(), kOwner, kGroup), 0);
  const auto run = [&](std::optional<uid_t> uid) {
    return RunProgram({"/bin/sh", "-c", "exec " + At("program")}, {.uid = uid}).code;
  };
  ASSERT_EQ(chmod(Plain("program").c_str(), 0711), 0);
  EXPECT_EQ(run({}), 0);
  EXPECT_EQ(run(kOther), 0);
  ASSERT_EQ(chmod(Plain("program").c_str(), 0700), 0);
  EXPECT_EQ(run({}), 126);
  EXPECT_EQ(run(kOther), 126);
  EXPECT_EQ(run(kOwner), 0);
}

TEST_F(Squash, OutlivesFrontendsAndBrokers) {
  MakeFile("secret", 0600);
  MakeFile("public", 0644);
  const auto holds = [&] {
    EXPECT_EQ(OpenError(At("secret"), O_RDONLY), EACCES);
    EXPECT_EQ(ReadFile(At("public")), "content");
    EXPECT_EQ(OpenError(Plain("secret"), O_RDONLY), 0);
    EXPECT_EQ(host().MountStatus(squashed_).at("squash"), "root");
    EXPECT_EQ(host().MountStatus(plain_).value("squash", ""), "");
  };
  holds();
  const auto kill_frontend = [&] {
    const auto before = host().MountStatus(squashed_);
    kill(before.at("frontend_pid").get<pid_t>(), SIGKILL);
    EXPECT_EQ(OpenError(At("secret"), O_RDONLY), EACCES);
    ASSERT_TRUE(WaitUntil(std::chrono::seconds(20), [&] {
      const auto now = host().MountStatus(squashed_);
      return now.at("frontend_pid") != before.at("frontend_pid") && now.at("state") == "ready";
    }));
  };
  kill_frontend();
  holds();
  host().KillBroker();
  host().StartBroker();
  holds();
  kill_frontend();  // the new broker starts another one
  holds();
  WriteFile(At("made"), "x");
  EXPECT_EQ(Stat(Plain("made")).st_uid, kNobody);
}

TEST_F(Squash, OthersThanNobodyAndAll) {
  host().Unmount(squashed_);
  squashed_ = host().Mount("work", "squashed",
                           {"--all-squash", "--anon-uid", "65530", "--anon-gid", "65540"});
  MakeFile("secret", 0600, kOther);
  MakeFile("owners", 0600, kOwner);
  {
    const ActingAs other(posix::Other());
    EXPECT_EQ(OpenError(At("secret"), O_RDONLY), EACCES);
    EXPECT_EQ(ReadFile(At("owners")), "content");
    WriteFile(At("made"), "x");
  }
  EXPECT_EQ(ReadFile(At("owners")), "content");
  MakeDirectory("home", 0700, kOther);
  MakeFile("program", 0711, kOther);
  EXPECT_EQ(AccessError(At("secret"), R_OK), EACCES);
  EXPECT_EQ(AccessError(At("owners"), R_OK | W_OK), 0);
  EXPECT_EQ(AccessError(At("owners"), X_OK), EACCES);
  EXPECT_EQ(AccessError(At("program"), X_OK), 0);
  EXPECT_EQ(AccessError(At("program"), R_OK), EACCES);
  EXPECT_EQ(ErrnoOf(chdir(At("home").c_str())), EACCES);
  EXPECT_EQ(Stat(Plain("made")).st_uid, kOwner);
  EXPECT_EQ(Stat(Plain("made")).st_gid, kGroup);
  EXPECT_EQ(host().MountStatus(squashed_).at("squash"), "all");
  const auto wrong = [&](const Arguments& extra) {
    Arguments words = {"mount", host().Path("squashed")};
    words.insert(words.end(), extra.begin(), extra.end());
    return host().Airctl(words).code;
  };
  EXPECT_EQ(wrong({"--root-squash", "--all-squash"}), 2);
  EXPECT_EQ(wrong({"--anon-uid", "7"}), 2);
  EXPECT_EQ(wrong({"--root-squash", "--anon-uid", "0"}), 2);
}

}  // namespace
}  // namespace airstore::e2e
