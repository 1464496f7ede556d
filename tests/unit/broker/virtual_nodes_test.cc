// SPDX-License-Identifier: Apache-2.0
//
// What virtual nodes say, letter by letter.
#include <gtest/gtest.h>

#include "broker/virtual/inode.h"
#include "broker/virtual/registry.h"
#include "broker/virtual/sources_node.h"
#include "broker/virtual/tasks_node.h"
#include "broker/virtual/tool_frame.h"
#include "broker/virtual/tools_node.h"

namespace airstore::broker {
namespace {

TEST(VirtualNames, InodesAreOfAReservedRangeAndOfThePath) {
  EXPECT_TRUE(IsVirtual(VirtualInode("Tools")));
  EXPECT_EQ(VirtualInode("Tools"), VirtualInode("Tools"));
  EXPECT_NE(VirtualInode("Tools"), VirtualInode("Sources"));
  EXPECT_LT(VirtualInode("Tools"), uint64_t{1} << 63) << "a signed number, too";
  EXPECT_FALSE(IsVirtual(1));
  EXPECT_FALSE(IsVirtual((uint64_t{1} << 62) - 1));
}

TEST(VirtualNames, TheFirstThatIsRegisteredHasThePrefix) {
  VirtualRegistry registry;
  const auto first = MakeTasksNode(nullptr);
  registry.Register("Tasks", first);
  registry.Register("Tasks", MakeTasksNode(nullptr));
  registry.Register("Skills", nullptr);
  std::string rest;
  ASSERT_NE(registry.Find("Tasks/a/b", &rest), nullptr);
  EXPECT_EQ(rest, "a/b");
  EXPECT_EQ(registry.Find("Tasks", &rest)->node, first);
  EXPECT_EQ(rest, "");
  for (const char* storage : {"Skills", "Skills/x", "tasks", "Tasks2", "src/Tasks", ""}) {
    EXPECT_EQ(registry.Find(storage, &rest), nullptr) << storage;
  }
}

TEST(TaskFiles, SayWhatIsKnown) {
  TaskInfo task;
  task.id = "t";
  task.status = "running";
  task.created_at = "2026-01-02T03:04:05Z";
  EXPECT_EQ(TaskText(task, {}),
            "Task: t\nStatus: running\nCreated: 2026-01-02T03:04:05Z\n\n--- Output ---\n");
  task.prompt = "p";
  task.started_at = "s";
  task.finished_at = "f";
  task.has_exit_code = true;
  task.exit_code = 3;
  task.error = "e";
  EXPECT_EQ(TaskText(task, {"one", "two"}),
            "Task: t\nStatus: running\nPrompt: p\nCreated: 2026-01-02T03:04:05Z\nStarted: s\n"
            "Finished: f\nExit Code: 3\nError: e\n\n--- Output ---\none\ntwo\n");
}

TEST(TaskFiles, TimesAreReadInEveryZone) {
  EXPECT_EQ(ParseTime("1970-01-01T00:00:01Z"), 1'000'000'000);
  EXPECT_EQ(ParseTime("1970-01-01T00:00:01.5Z"), 1'500'000'000);
  EXPECT_EQ(ParseTime("1970-01-01T02:00:00+02:00"), 0);
  EXPECT_EQ(ParseTime("1969-12-31T23:30:00-00:30"), 0);
  EXPECT_EQ(ParseTime("2026-01-02T03:04:05.123456789Z") % 1'000'000'000, 123'456'789);
  for (const char* bad : {"", "yesterday", "2026-01-02", "2026-01-02T03:04:05+x"}) {
    EXPECT_EQ(ParseTime(bad), 0) << bad;
  }
}

TEST(ToolFiles, NamesAreQuoted) {
  const ToolAccess access{"g:1", "/run/it's.sock", "ticket", "/bin/shim"};
  ToolInfo tool;
  tool.name = "a'b\nc";
  const std::string script = ToolScript(tool, access);
  EXPECT_EQ(script.rfind("#!/bin/sh\n", 0), 0u);
  EXPECT_NE(script.find("# Runs a'b c at"), std::string::npos) << "a comment is one line";
  EXPECT_NE(script.find("'/run/it'\\''s.sock'"), std::string::npos);
  EXPECT_NE(script.find("-- 'a'\\''b\nc' \"$@\"\n"), std::string::npos);
  tool.local_command = "/bin/echo -n";
  EXPECT_NE(ToolScript(tool, access).find("exec /bin/echo -n \"$@\"\n"), std::string::npos);
}

TEST(SourceNames, ProbesOfProgramsAreHidden) {
  for (const char* hidden : {".git", ".gitignore", ".env", "._x", ".fuse_hidden1", ".DS_Store"}) {
    EXPECT_TRUE(IsHiddenInSources(hidden)) << hidden;
  }
  for (const char* shown : {".query.as", "git", "README.md", ".x.json.query.as"}) {
    EXPECT_FALSE(IsHiddenInSources(shown)) << shown;
  }
}

TEST(ToolFrames, ComeBackAsTheyWere) {
  const std::string large(100'000, 'x');
  const auto message = tool::Decode(tool::Encode(tool::Kind::kRun, {"t", "", "a\0b", large}));
  ASSERT_TRUE(message);
  EXPECT_EQ(message->kind, tool::Kind::kRun);
  ASSERT_EQ(message->fields.size(), 4u);
  EXPECT_EQ(message->fields[1], "");
  EXPECT_EQ(message->fields[3], large);
  for (const std::string& bad :
       {std::string(), std::string("?"), std::string("R\x01"), std::string("R\x05\0\0\0abc", 8),
        std::string("R\xff\xff\xff\xff", 5)}) {
    EXPECT_FALSE(tool::Decode(bad)) << bad.size();
  }
}

}  // namespace
}  // namespace airstore::broker
