// SPDX-License-Identifier: Apache-2.0
#include "shm/posix_acl.h"

#include <gtest/gtest.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>

#include <cstring>
#include <random>

namespace airstore::shm {
namespace {

struct Entry {
  uint16_t tag;
  uint16_t permissions;
  uint32_t id = static_cast<uint32_t>(ACL_UNDEFINED_ID);
};

std::string Value(const std::vector<Entry>& entries) {
  const posix_acl_xattr_header header{POSIX_ACL_XATTR_VERSION};
  std::string out(reinterpret_cast<const char*>(&header), sizeof(header));
  for (const Entry& entry : entries) {
    const posix_acl_xattr_entry raw{entry.tag, entry.permissions, entry.id};
    out.append(reinterpret_cast<const char*>(&raw), sizeof(raw));
  }
  return out;
}

const std::vector<Entry> kMinimal = {{ACL_USER_OBJ, 6}, {ACL_GROUP_OBJ, 4}, {ACL_OTHER, 0}};
const std::vector<Entry> kNamed = {{ACL_USER_OBJ, 7}, {ACL_USER, 7, 65534}, {ACL_GROUP_OBJ, 5},
                                   {ACL_GROUP, 6, 4}, {ACL_MASK, 6},        {ACL_OTHER, 1}};

TEST(PosixAcl, EncodesWhatItHasParsed) {
  for (const auto& entries : {kMinimal, kNamed, std::vector<Entry>()}) {
    const auto acl = PosixAcl::Parse(Value(entries));
    ASSERT_TRUE(acl);
    EXPECT_EQ(Value(entries), acl->Encode());
    EXPECT_EQ(entries.empty(), acl->empty());
  }
}

TEST(PosixAcl, RefusesListsThatAreNone) {
  const auto code = [](const std::string& value) { return PosixAcl::Parse(value).error().code; };
  EXPECT_EQ(EINVAL, code(""));
  EXPECT_EQ(EINVAL, code("abc"));
  EXPECT_EQ(EOPNOTSUPP, code(std::string("\1\0\0\0", 4)));
  EXPECT_EQ(EINVAL, code(Value(kMinimal) + "x"));
  EXPECT_EQ(EINVAL, code(Value({{ACL_USER_OBJ, 6}, {ACL_OTHER, 0}}))) << "no group";
  EXPECT_EQ(EINVAL, code(Value({{ACL_GROUP_OBJ, 4}, {ACL_USER_OBJ, 6}, {ACL_OTHER, 0}})))
      << "order";
  EXPECT_EQ(EINVAL, code(Value({{ACL_USER_OBJ, 8}, {ACL_GROUP_OBJ, 4}, {ACL_OTHER, 0}})));
  EXPECT_EQ(EINVAL,
            code(Value({{ACL_USER_OBJ, 6}, {ACL_USER, 4, 1}, {ACL_GROUP_OBJ, 4}, {ACL_OTHER, 0}})))
      << "a named entry without a mask";
  EXPECT_EQ(
      EINVAL,
      code(Value({{ACL_USER_OBJ, 6}, {ACL_USER_OBJ, 6}, {ACL_GROUP_OBJ, 4}, {ACL_OTHER, 0}})));
  EXPECT_EQ(EINVAL, code(Value({{99, 6}, {ACL_USER_OBJ, 6}, {ACL_GROUP_OBJ, 4}, {ACL_OTHER, 0}})));
}

TEST(PosixAcl, SaysItsPartOfTheMode) {
  uint32_t mode = 02777;
  EXPECT_TRUE(PosixAcl::Parse(Value(kMinimal))->ToMode(&mode));
  EXPECT_EQ(02640u, mode);
  EXPECT_FALSE(PosixAcl::Parse(Value(kNamed))->ToMode(&mode));
  EXPECT_EQ(02761u, mode) << "the mask is the group's";
}

TEST(PosixAcl, FollowsTheMode) {
  PosixAcl acl = *PosixAcl::Parse(Value(kNamed));
  acl.SetMode(0530);
  uint32_t mode = 0;
  acl.ToMode(&mode);
  EXPECT_EQ(0530u, mode);
  std::vector<Entry> expected = kNamed;
  expected[0].permissions = 5;
  expected[4].permissions = 3;
  expected[5].permissions = 0;
  EXPECT_EQ(Value(expected), acl.Encode()) << "named entries and the group stay";
}

TEST(PosixAcl, IsInherited) {
  PosixAcl acl = *PosixAcl::Parse(Value(kNamed));
  uint32_t mode = 0100666;
  EXPECT_FALSE(acl.Inherit(&mode));
  EXPECT_EQ(0100660u, mode);
  std::vector<Entry> expected = kNamed;
  expected[0].permissions = 6;
  expected[4].permissions = 6;
  expected[5].permissions = 0;
  EXPECT_EQ(Value(expected), acl.Encode());
  PosixAcl minimal = *PosixAcl::Parse(Value(kMinimal));
  mode = 0100777;
  EXPECT_TRUE(minimal.Inherit(&mode));
  EXPECT_EQ(0100640u, mode);
}

TEST(PosixAcl, SurvivesAnyBytes) {
  std::mt19937 random(1);
  for (int i = 0; i < 100'000; ++i) {
    std::string value = Value(i % 2 == 0 ? kNamed : kMinimal);
    for (unsigned flips = random() % 4; flips > 0; --flips) {
      value[random() % value.size()] = static_cast<char>(random());
    }
    value.resize(random() % (value.size() + 1));
    auto acl = PosixAcl::Parse(value);
    if (!acl) continue;
    uint32_t mode = 0777;
    acl->ToMode(&mode);
    acl->SetMode(mode);
    acl->Inherit(&mode);
    EXPECT_TRUE(PosixAcl::Parse(acl->Encode()));
  }
}

}  // namespace
}  // namespace airstore::shm
