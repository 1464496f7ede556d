// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/token_source.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/unit/broker/temp_dir.h"

namespace airstore::airctl {
namespace {

std::string PrivateFile(const TempDir& temp, const std::string& text) {
  const std::string path = temp.Write("token", text);
  chmod(path.c_str(), 0600);
  return path;
}

TEST(TokenSource, ReadsAPrivateFile) {
  const TempDir temp;
  EXPECT_EQ(ReadToken(PrivateFile(temp, "  abc\n"), nullptr).value, "abc");
}

TEST(TokenSource, RefusesFilesThatOthersCanRead) {
  const TempDir temp;
  const std::string path = PrivateFile(temp, "abc");
  for (const mode_t mode : {0640u, 0604u, 0660u, 0644u}) {
    chmod(path.c_str(), mode);
    const auto token = ReadToken(path, nullptr);
    ASSERT_FALSE(token.value);
    EXPECT_EQ(token.failure.kind, control::v1::FAILURE_KIND_PERMISSION);
    EXPECT_EQ(token.failure.advice, "chmod 600 " + path);
  }
}

TEST(TokenSource, FileWinsOverEnvironment) {
  const TempDir temp;
  EXPECT_EQ(ReadToken(PrivateFile(temp, "file"), "env").value, "file");
  EXPECT_EQ(ReadToken("", "env").value, "env");
}

TEST(TokenSource, SaysWhenThereIsNone) {
  const TempDir temp;
  EXPECT_EQ(ReadToken("", nullptr).failure.kind, control::v1::FAILURE_KIND_USAGE);
  EXPECT_EQ(ReadToken("", "").failure.kind, control::v1::FAILURE_KIND_USAGE);
  EXPECT_EQ(ReadToken(temp / "none", nullptr).failure.kind, control::v1::FAILURE_KIND_USAGE);
  EXPECT_EQ(ReadToken(PrivateFile(temp, "\n"), nullptr).failure.kind,
            control::v1::FAILURE_KIND_USAGE);
  const auto words = ReadToken(PrivateFile(temp, "two words"), nullptr);
  ASSERT_FALSE(words.value);
  EXPECT_EQ(words.failure.message.find("words"), std::string::npos) << "may be a secret";
}

}  // namespace
}  // namespace airstore::airctl
