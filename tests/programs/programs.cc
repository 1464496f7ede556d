// SPDX-License-Identifier: Apache-2.0
#include "tests/programs/programs.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

namespace airstore::programs {

std::string MissingOf(const Arguments& programs) {
  for (const std::string& program : programs) {
    if (RunProgram({"/bin/sh", "-c", "command -v " + program}).code != 0) {
      return program + " is not installed";
    }
  }
  return "";
}

std::string NameOfUser(const testing::TestParamInfo<uid_t>& info) {
  return info.param == kRoot ? "Root" : "User";
}

void Programs::SetUp() {
  MountTest::SetUp();
  if (IsSkipped()) return;
  (void)chmod(mount().c_str(), 01777);
  (void)Outside("home");
}

e2e::RunOptions Programs::Running(const std::string& directory) {
  return {.directory = directory,
          .env = {{"HOME", host().Path("home")},
                  {"GIT_CONFIG_GLOBAL", "/dev/null"},
                  {"GIT_AUTHOR_NAME", "Somebody"},
                  {"GIT_AUTHOR_EMAIL", "s@example.org"},
                  {"GIT_COMMITTER_NAME", "Somebody"},
                  {"GIT_COMMITTER_EMAIL", "s@example.org"},
                  {"LC_ALL", "C"}},
          .uid = uid_ == kRoot ? std::nullopt : std::optional<uid_t>(uid_),
          .patience = std::chrono::seconds(200)};
}

Finished Programs::Shell(const std::string& directory, const std::string& script) {
  return RunProgram({"/bin/sh", "-euc", script}, Running(directory));
}

std::string Programs::ShellOk(const std::string& directory, const std::string& script) {
  Finished done = Shell(directory, script);
  if (done.code != 0) throw std::runtime_error(script + "\n" + done.All());
  return std::move(done.out);
}

Process Programs::ShellBehind(const std::string& directory, const std::string& script,
                              const std::string& log) {
  e2e::RunOptions options = Running(directory);
  options.output_file = log;
  return Process({"/bin/sh", "-euc", script}, options);
}

std::string Programs::Outside(const std::string& name) {
  const std::string path = host().Path(name);
  std::filesystem::create_directory(path);
  (void)chown(path.c_str(), uid_, uid_);
  return path;
}

void Programs::ExpectTheSameAfterRemount(const std::string& directory) {
  const e2e::TreeOptions all{.xattrs = true};
  const e2e::TreeEntries before = Tree(At(directory), all);
  ASSERT_FALSE(before.empty());
  RemountFresh();
  EXPECT_EQ(e2e::Difference(before, Tree(At(directory), all)), "") << "after the remount";
}

}  // namespace airstore::programs
