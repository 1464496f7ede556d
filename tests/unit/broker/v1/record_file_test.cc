// SPDX-License-Identifier: Apache-2.0
#include "broker/v1/record_file.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/unit/broker/temp_dir.h"

namespace airstore::broker::v1 {
namespace {

std::vector<std::string> Read(const std::string& path) {
  std::vector<std::string> records;
  auto file =
      RecordFile::Open(path, [&](std::string_view record) { records.emplace_back(record); });
  EXPECT_TRUE(file) << file.error().ToString();
  return records;
}

TEST(RecordFile, ReadsWhatWasAppended) {
  const TempDir directory;
  auto file = RecordFile::Write(directory / "f", {"one"});
  ASSERT_TRUE(file);
  ASSERT_TRUE(file->Append("two"));
  ASSERT_TRUE(file->Append(""));
  EXPECT_EQ(Read(directory / "f"), (std::vector<std::string>{"one", "two", ""}));
}

TEST(RecordFile, ATornEndIsCutOff) {
  const TempDir directory;
  auto file = RecordFile::Write(directory / "f", {"one", "two"});
  ASSERT_TRUE(file);
  const uint64_t whole = file->bytes();
  for (uint64_t length = whole - 1; length > whole - 11; --length) {
    std::filesystem::resize_file(directory / "f", length);
    EXPECT_EQ(Read(directory / "f"), std::vector<std::string>{"one"});
    ASSERT_TRUE(RecordFile::Write(directory / "f", {"one", "two"}));
  }
  std::filesystem::resize_file(directory / "f", whole - 1);
  {
    auto again = RecordFile::Open(directory / "f", [](std::string_view) {});
    ASSERT_TRUE(again);
    ASSERT_TRUE(again->Append("three"));
  }
  EXPECT_EQ(Read(directory / "f"), (std::vector<std::string>{"one", "three"}));
}

TEST(RecordFile, DamageEndsTheReading) {
  std::string text(64, '\xff');
  size_t records = 0;
  EXPECT_EQ(ReadRecords(text, [&](std::string_view) { ++records; }), 0u);
  EXPECT_EQ(records, 0u);
}

}  // namespace
}  // namespace airstore::broker::v1
