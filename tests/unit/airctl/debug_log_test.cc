// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "tests/unit/broker/temp_dir.h"
#include "tools/airctl/debug.h"

namespace airstore::airctl {
namespace {

TEST(DebugLog, EndsTheFileThatTheConfigurationNames) {
  const TempDir temp;
  std::string lines;
  for (int i = 0; i < 200'000; ++i) lines += "line " + std::to_string(i) + "\n";
  const std::string file = temp.Write("log", lines);
  const LogEnd end = EndOfLog("#log_file = \"/none\"\nlog_file = \"" + file + "\"\n");
  EXPECT_EQ(end.from, file);
  EXPECT_LE(end.text.size(), 1u << 20);
  EXPECT_GT(end.text.size(), (1u << 20) - 100);
  EXPECT_TRUE(end.text.starts_with("line ")) << "whole lines";
  EXPECT_TRUE(end.text.ends_with("line 199999\n"));
  EXPECT_EQ(EndOfLog("log_file = \"/none\"\n").text, "");
  EXPECT_EQ(EndOfLog("#log_file = \"/none\"\n").from, "the journal");
}

}  // namespace
}  // namespace airstore::airctl
