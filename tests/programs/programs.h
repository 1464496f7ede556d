// SPDX-License-Identifier: Apache-2.0
//
// The fixture of tests that run the programs people use, as root or as an ordinary user.
#pragma once

#include <optional>
#include <string>

#include "tests/e2e/support/host_test.h"

namespace airstore::programs {

using e2e::Arguments;
using e2e::Exists;
using e2e::Finished;
using e2e::Now;
using e2e::Process;
using e2e::RandomBytes;
using e2e::ReadFile;
using e2e::RunOk;
using e2e::RunProgram;
using e2e::Stat;
using e2e::Tree;
using e2e::WaitUntil;
using e2e::WriteFile;

constexpr uid_t kRoot = 0;
constexpr uid_t kUser = 65534;  // "nobody": PostgreSQL wants a name

// Why a test with these programs cannot be; empty when it can.
std::string MissingOf(const Arguments& programs);

// Everybody may make files in the root of mount().
class Programs : public e2e::MountTest {
 protected:
  void SetUp() override;
  e2e::HostOptions Options() const override { return {.patience = std::chrono::seconds(280)}; }

  // Who runs what Shell is given, from now on.
  void Become(uid_t uid) { uid_ = uid; }
  uid_t uid() const { return uid_; }
  // `script` by /bin/sh -eu in `directory`; a home of its own, outside the mount.
  Finished Shell(const std::string& directory, const std::string& script);
  // The same; what it printed on stdout. When it fails, so does the test.
  std::string ShellOk(const std::string& directory, const std::string& script);
  // The same in the background; both outputs go to `log`.
  Process ShellBehind(const std::string& directory, const std::string& script,
                      const std::string& log);
  // A new directory outside the mount that belongs to uid().
  std::string Outside(const std::string& name);
  // A second mount of the same workspace.
  std::string SecondMount() { return host().Mount("work", "mnt2"); }

  // Unmounts, forgets everything, mounts: `directory` of the mount must then be as it was before,
  // whatever the page cache had made of it.
  void ExpectTheSameAfterRemount(const std::string& directory);

 private:
  e2e::RunOptions Running(const std::string& directory);
  uid_t uid_ = kRoot;
};

// Each test once as root and once as somebody else.
class AsRootAndUser : public Programs, public testing::WithParamInterface<uid_t> {
 protected:
  void SetUp() override {
    Become(GetParam());
    Programs::SetUp();
  }
};
std::string NameOfUser(const testing::TestParamInfo<uid_t>& info);

#define NEED(...)                                                               \
  if (IsSkipped()) return;                                                      \
  if (const std::string missing = MissingOf({__VA_ARGS__}); !missing.empty()) { \
    GTEST_SKIP() << missing;                                                    \
  }

}  // namespace airstore::programs
