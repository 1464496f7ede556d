// SPDX-License-Identifier: Apache-2.0
//
// Files and directories in a mount of an original gateway.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "tests/v1/v1_host.h"

namespace airstore::e2e {
namespace {

class V1Basics : public OriginalTest {};

TEST_F(V1Basics, WhatIsWrittenIsThereAfterARemount) {
  const nlohmann::json status = host().Status();
  EXPECT_EQ(status.at("sessions").at(0).at("protocol"), "v1");
  std::filesystem::create_directories(At("a/b/c"));
  WriteFile(At("a/small"), "small");
  WriteFile(At("a/b/empty"), "");
  const std::string large = RandomBytes(1, 20u << 20);
  WriteFile(At("a/b/c/large"), large);
  ASSERT_EQ(symlink("b/c/large", At("a/link").c_str()), 0);
  std::filesystem::rename(At("a/b"), At("moved"));
  {
    const UniqueFd file = Open(At("moved/c/large"), O_RDWR);
    WriteAt(file.get(), "head", 0);
    WriteAt(file.get(), "middle", 10u << 20);
    ASSERT_EQ(ftruncate(file.get(), 19u << 20), 0);
  }
  std::string expected = large;
  expected.replace(0, 4, "head");
  expected.replace(10u << 20, 6, "middle");
  expected.resize(19u << 20);
  RemountFresh();
  EXPECT_EQ(ReadFile(At("a/small")), "small");
  EXPECT_EQ(ReadFile(At("moved/empty")), "");
  EXPECT_TRUE(ReadFile(At("moved/c/large")) == expected);
  EXPECT_EQ(std::filesystem::read_symlink(At("a/link")), "b/c/large");
  EXPECT_EQ(NamesIn(At("a")), (std::set<std::string>{"link", "small"}));
  EXPECT_EQ(NamesIn(mount()), (std::set<std::string>{"a", "moved"}));
  std::filesystem::remove_all(At("moved"));
  std::filesystem::remove_all(At("a"));
  EXPECT_TRUE(NamesIn(mount()).empty());
}

TEST_F(V1Basics, TwoMountsAgreeAtOnce) {
  const std::string other = Mount("other");
  WriteFile(At("f"), "one");
  EXPECT_EQ(ReadFile(other + "/f"), "one");
  WriteFile(other + "/f", "two, longer");
  EXPECT_EQ(ReadFile(At("f")), "two, longer");
  std::filesystem::rename(At("f"), At("g"));
  EXPECT_FALSE(Exists(other + "/f"));
  EXPECT_EQ(ReadFile(other + "/g"), "two, longer");
  std::filesystem::remove(other + "/g");
  EXPECT_FALSE(Exists(At("g")));
}

}  // namespace
}  // namespace airstore::e2e
