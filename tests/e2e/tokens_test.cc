// SPDX-License-Identifier: Apache-2.0
//
// That the search for tokens, which every run's directory goes through, finds one, wherever it
// lies.
#include <fcntl.h>
#include <gtest/gtest-spi.h>
#include <unistd.h>

#include <filesystem>

#include "tests/e2e/support/host_test.h"
#include "tests/e2e/support/tokens.h"

namespace airstore::e2e {
namespace {

const std::string kSecret = "ast_" + std::string(20, 'a') + "-_" + std::string(21, 'Z');

TEST(Tokens, AreRecognised) {
  EXPECT_TRUE(HasToken("authorization: Bearer " + kSecret));
  EXPECT_TRUE(HasToken("ast_short \"" + kSecret + "\" and more"));
  EXPECT_FALSE(HasToken(kSecret.substr(0, kSecret.size() - 1)));
  EXPECT_FALSE(HasToken(kSecret + "a")) << "a longer word, as symbols of programs are";
  EXPECT_FALSE(HasToken("l" + kSecret));
}

TEST(Tokens, AreFoundWhereverTheyAre) {
  std::vector<std::string> planted, found;
  const auto plant = [&](const std::string& path, off_t at) {
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    const UniqueFd file = Open(path, O_WRONLY | O_CREAT);
    WriteAt(file.get(), kSecret, at);
    planted.push_back(path);
  };
  EXPECT_NONFATAL_FAILURE(
      {
        const Janitor janitor;
        const std::string& top = janitor.directory();
        plant(top + "/gateway.log", 0);
        plant(top + "/a/b/journal/1", (1 << 20) - 20);  // across what is read at once
        plant(top + "/sparse", 100 << 20);
        const auto expected = std::exchange(planted, {});
        for (const char* name : {"/work.token", "/gateway/admin-token", "/state/session.json",
                                 "/state/content/7", "/tokens/work"}) {
          plant(top + name, 0);
        }
        planted = expected;
        found = FilesWithTokens(top);
        std::filesystem::remove(top + "/sparse");
        std::filesystem::remove(top + "/a/b/journal/1");
      },
      "/gateway.log has a token in it");
  std::sort(planted.begin(), planted.end());
  std::sort(found.begin(), found.end());
  EXPECT_EQ(found, planted);
}

class TokensSaid : public HostTest {};

TEST_F(TokensSaid, AreNoticed) {
  // It repeats what it does not understand.
  EXPECT_NONFATAL_FAILURE((void)host().Airctl({"status", host().Path(kSecret)}), "prints a token");
}

}  // namespace
}  // namespace airstore::e2e
