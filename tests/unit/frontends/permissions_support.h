// SPDX-License-Identifier: Apache-2.0
//
// A directory with files of any owner and mode, and who asks about them. Needs root.
// Threads: the test's.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <vector>

#include "frontends/volume/permissions.h"
#include "tests/posix/caller.h"

namespace airstore::volume {

// A caller's credentials, with the groups.
class As {
 public:
  explicit As(const posix::Caller& caller)
      : groups_({caller.groups.begin(), caller.groups.end()}),
        credentials_{caller.uid, caller.gid, &groups_} {}
  As(const As&) = delete;
  As& operator=(const As&) = delete;
  operator const Credentials&() const { return credentials_; }

 private:
  const GroupList groups_;
  const Credentials credentials_;
};

class PermissionsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root, to act as other users";
    // ext4 looks for numbers that were not freed lately when it makes a file, which takes seconds.
    struct statvfs memory {};
    const bool usable = statvfs("/dev/shm", &memory) == 0 && (memory.f_flag & ST_NOEXEC) == 0;
    directory_ = std::string(usable ? "/dev/shm" : "/tmp") + "/airstore-permissions-XXXXXX";
    ASSERT_NE(mkdtemp(directory_.data()), nullptr);
    ASSERT_EQ(chmod(directory_.c_str(), 0755), 0);
  }
  void TearDown() override {
    if (!directory_.empty()) Remove(directory_);
  }

  std::string At(const std::string& name) const { return directory_ + "/" + name; }

  // The owner, members of the group by either kind of membership, somebody else, root.
  static const std::vector<posix::Caller>& Callers() {
    static const std::vector<posix::Caller> callers{
        posix::Root(), posix::Owner(), posix::Member(), posix::Other(),
        posix::Caller{"of the group", 65533, posix::kGroup, {}}};
    return callers;
  }

  static void Make(const std::string& path, uint32_t type, uint32_t mode,
                   uid_t owner = posix::kOwner) {
    if (type == S_IFDIR) {
      ASSERT_EQ(mkdir(path.c_str(), 0700), 0) << path;
    } else {
      ASSERT_EQ(mknod(path.c_str(), type | 0600, 0), 0) << path;
    }
    ASSERT_EQ(chown(path.c_str(), owner, posix::kGroup), 0);
    ASSERT_EQ(chmod(path.c_str(), mode), 0);
  }

  // Of the acting user; unlike access(2) it makes no credentials of its own.
  static int KernelsAnswer(const std::string& path, int wanted) {
    return syscall(SYS_faccessat2, AT_FDCWD, path.c_str(), wanted, AT_EACCESS) == 0 ? 0 : errno;
  }

  static void Remove(const std::string& path) {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }

  static shm::InodeRecord RecordOf(const std::string& path) {
    struct stat st {};
    EXPECT_EQ(lstat(path.c_str(), &st), 0) << path;
    shm::InodeRecord record{};
    record.inode = st.st_ino;
    record.mode = st.st_mode;
    record.uid = st.st_uid;
    record.gid = st.st_gid;
    return record;
  }

 private:
  std::string directory_;
};

}  // namespace airstore::volume
