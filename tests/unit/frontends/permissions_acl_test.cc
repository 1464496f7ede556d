// SPDX-License-Identifier: Apache-2.0
//
// Access control lists: random ones, and who is granted what, compared with the kernel's answers.
#include <gtest/gtest.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <random>

#include "shm/xattr_names.h"
#include "tests/unit/frontends/permissions_support.h"

namespace airstore::volume {
namespace {

using posix::ActingAs;
using posix::Caller;

class PermissionsAcl : public PermissionsTest {
 protected:
  // A valid list over users and groups that callers are, and are in.
  std::string RandomList() {
    std::string out;
    const posix_acl_xattr_header header{POSIX_ACL_XATTR_VERSION};
    out.append(reinterpret_cast<const char*>(&header), sizeof(header));
    bool named = false;
    const auto add = [&](uint16_t tag, uint32_t id) {
      const posix_acl_xattr_entry entry{tag, static_cast<uint16_t>(Below(8)), id};
      out.append(reinterpret_cast<const char*>(&entry), sizeof(entry));
      named = named || tag == ACL_USER || tag == ACL_GROUP;
    };
    const auto nobody = static_cast<uint32_t>(ACL_UNDEFINED_ID);
    add(ACL_USER_OBJ, nobody);
    for (const uid_t uid : {posix::kOwner, posix::kMember, posix::kOther}) {
      if (Below(3) == 0) add(ACL_USER, uid);
    }
    add(ACL_GROUP_OBJ, nobody);
    for (const gid_t gid : {posix::kGroup, posix::kOtherGroup, posix::kThirdGroup}) {
      if (Below(2) == 0) add(ACL_GROUP, gid);
    }
    if (named || Below(4) == 0) add(ACL_MASK, nobody);
    add(ACL_OTHER, nobody);
    return out;
  }

  uint32_t Below(uint32_t limit) {
    return std::uniform_int_distribution<uint32_t>(0, limit - 1)(random_);
  }

 private:
  std::mt19937 random_{20240607};
};

TEST_F(PermissionsAcl, OfListsAreTheKernels) {
  struct Made {
    std::string path;
    shm::InodeRecord record;
    std::string list;
  };
  std::vector<Made> all;
  for (int i = 0; i < 800; ++i) {
    const std::string path = At("f" + std::to_string(i));
    Make(path, i % 2 == 0 ? S_IFREG : S_IFDIR, 0700);
    const std::string name(shm::kAccessAcl);
    const std::string list = RandomList();
    const int set = setxattr(path.c_str(), name.c_str(), list.data(), list.size(), 0);
    if (set != 0 && errno == EOPNOTSUPP) GTEST_SKIP() << "this file system keeps no lists";
    ASSERT_EQ(set, 0) << errno;
    // A list that says no more than the mode is not kept.
    char kept[512];
    const ssize_t got = getxattr(path.c_str(), name.c_str(), kept, sizeof(kept));
    all.push_back(
        {path, RecordOf(path), got > 0 ? std::string(kept, static_cast<size_t>(got)) : ""});
  }
  size_t granted = 0;
  for (const Caller& caller : Callers()) {
    const ActingAs acting(caller);
    const As who(caller);
    for (const Made& made : all) {
      for (const int wanted : {1, 2, 3, 4, 5, 6, 7}) {
        const int kernel = KernelsAnswer(made.path, wanted);
        ASSERT_EQ(kernel, CheckAccess(who, {made.record, made.list}, static_cast<uint32_t>(wanted)))
            << caller.name << " wants " << wanted << " of " << made.path << ", mode " << std::oct
            << made.record.mode;
        granted += kernel == 0;
      }
    }
  }
  EXPECT_GT(granted, all.size());
}

TEST_F(PermissionsAcl, ThatAreBrokenGrantNothing) {
  shm::InodeRecord record{};
  record.mode = S_IFREG | 0777;
  record.uid = posix::kOwner;
  EXPECT_EQ(CheckAccess(As(posix::Other()), {record, "no list"}, kMayRead), EACCES);
  EXPECT_EQ(CheckAccess(As(posix::Owner()), {record, "no list"}, kMayRead), 0);
}

TEST_F(PermissionsAcl, AreTheOwnersToChange) {
  shm::InodeRecord record{};
  record.mode = S_IFREG | 0666;
  record.uid = posix::kOwner;
  record.gid = posix::kGroup;
  EXPECT_EQ(CheckSetXattr(As(posix::Other()), {record}, shm::kAccessAcl), EPERM);
  EXPECT_EQ(CheckSetXattr(As(posix::Owner()), {record}, shm::kAccessAcl), 0);
  EXPECT_EQ(CheckGetXattr(As(posix::Other()), {record}, shm::kAccessAcl), 0);
  EXPECT_FALSE(LosesSetGroupId(As(posix::Owner()), record));
  record.gid = posix::kOtherGroup;
  EXPECT_TRUE(LosesSetGroupId(As(posix::Owner()), record));
}

TEST_F(PermissionsAcl, GroupsAreAskedForOnlyWhenTheyCount) {
  class Unwilling final : public Groups {
   public:
    bool Contain(uint32_t) const override {
      ADD_FAILURE() << "asked";
      return false;
    }
  } groups;
  const Credentials other{posix::kOther, posix::kOtherGroup, &groups};
  shm::InodeRecord record{};
  record.mode = S_IFREG | 0755;
  record.uid = posix::kOwner;
  record.gid = posix::kGroup;
  EXPECT_EQ(CheckAccess(other, {record}, kMayRead), 0);
  EXPECT_EQ(CheckAccess(other, {record}, kMayWrite), EACCES);
}

}  // namespace
}  // namespace airstore::volume
