// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/token_store.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "tests/unit/broker/temp_dir.h"
#include "tools/airctl/token_source.h"

namespace airstore::airctl {
namespace {

TEST(TokenStore, KeepsATokenForItsOwnerAlone) {
  const TempDir temp;
  const std::string directory = temp / "config/tokens";
  EXPECT_EQ(KeptToken(directory, "work"), "");
  for (const char* token : {"first", "second"}) {
    const mode_t others = umask(0);
    const auto kept = KeepToken(directory, "work", token);
    umask(others);
    ASSERT_TRUE(kept.value) << kept.failure.message;
    struct stat info {};
    ASSERT_EQ(stat(kept.value->c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777, 0600u);
    ASSERT_EQ(stat(directory.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777, 0700u);
    EXPECT_EQ(KeptToken(directory, "work"), *kept.value);
    EXPECT_EQ(*ReadToken(*kept.value, nullptr).value, token);
  }
  const std::filesystem::directory_iterator left(directory);
  EXPECT_EQ(std::distance(begin(left), end(left)), 1) << "nothing is left behind";
}

TEST(TokenStore, NamesLeadNowhereElse) {
  const TempDir temp;
  for (const char* name : {"", ".", "..", ".hidden", "a/b", "../x"}) {
    EXPECT_FALSE(KeepToken(temp / "tokens", name, "token").value) << name;
    EXPECT_EQ(KeptToken(temp / "tokens", name), "") << name;
  }
}

}  // namespace
}  // namespace airstore::airctl
