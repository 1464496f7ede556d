// SPDX-License-Identifier: Apache-2.0
//
// Programs that trust in locks, over two mounts of one workspace at once.
#include <iostream>
#include <memory>
#include <thread>

#include "tests/e2e/two_mounts.h"

namespace airstore::e2e {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class LocksOfPrograms : public TwoMounts {
 protected:
  std::string Sqlite(int mount, const std::string& sql) const {
    return RunOk({"sqlite3", "-cmd", ".timeout 60000", At(mount, "db"), sql});
  }
  // So many processes, every other one on the second mount, that each insert `rows` rows, one
  // transaction each.
  std::vector<std::unique_ptr<Process>> StartWriters(int count, int rows) const {
    std::vector<std::unique_ptr<Process>> writers;
    for (int i = 0; i < count; ++i) {
      const std::string script = host_path("script" + std::to_string(i));
      std::string sql;
      for (int row = 0; row < rows; ++row) {
        sql += "BEGIN IMMEDIATE; INSERT INTO t VALUES(" + std::to_string(i) + "," +
               std::to_string(row) + ",hex(randomblob(200))); COMMIT;\n";
      }
      WriteFile(script, sql);
      RunOptions options;
      options.output_file = host_path("writer" + std::to_string(i));
      writers.push_back(
          std::make_unique<Process>(Arguments{"sqlite3", "-bail", "-cmd", ".timeout 60000",
                                              At(i % 2, "db"), ".read " + script},
                                    options));
    }
    return writers;
  }
  std::string host_path(const std::string& name) const { return directory_ + "/" + name; }
  void SetUp() override {
    TwoMounts::SetUp();
    if (!IsSkipped()) directory_ = host().directory();
  }

 private:
  std::string directory_;
};

class LocksOfSqlite : public LocksOfPrograms, public testing::WithParamInterface<const char*> {};
INSTANTIATE_TEST_SUITE_P(, LocksOfSqlite, testing::Values("delete", "truncate", "persist", "wal"),
                         [](const auto& mode) { return std::string(mode.param); });

TEST_P(LocksOfSqlite, EightProcessesOverTwoMounts) {
  constexpr int kWriters = 8;
  const int rows = static_cast<int>(EnvOr("AIRSTORE_E2E_SQLITE_ROWS", 25));
  ASSERT_EQ(Sqlite(0, std::string("PRAGMA journal_mode=") + GetParam() +
                          "; PRAGMA synchronous=off; CREATE TABLE t(w INT, n INT, x TEXT, "
                          "UNIQUE(w, n));"),
            std::string(GetParam()) + "\n");
  const auto begun = Now();
  const auto writers = StartWriters(kWriters, rows);
  for (int i = 0; i < kWriters; ++i) {
    EXPECT_EQ(writers[static_cast<size_t>(i)]->Wait(seconds(120)), 0)
        << ReadFile(host_path("writer" + std::to_string(i)));
  }
  const auto took = std::chrono::duration_cast<milliseconds>(Now() - begun);
  std::cout << GetParam() << ": " << kWriters * rows << " transactions in " << took.count()
            << " ms\n";
  for (const int mount : {0, 1}) {
    EXPECT_EQ(Sqlite(mount, "PRAGMA integrity_check; SELECT count(*), count(DISTINCT w) FROM t;"),
              "ok\n" + std::to_string(kWriters * rows) + "|" + std::to_string(kWriters) + "\n");
  }
}

TEST_P(LocksOfSqlite, KilledWritersDoNoHarm) {
  constexpr int kWriters = 6;
  constexpr int kRows = 400;
  Sqlite(0, std::string("PRAGMA journal_mode=") + GetParam() +
                "; CREATE TABLE t(w INT, n INT, x TEXT, UNIQUE(w, n));");
  const auto writers = StartWriters(kWriters, kRows);
  const auto count = [&] { return std::stoi(Sqlite(1, "SELECT count(*) FROM t;")); };
  EXPECT_TRUE(WaitUntil(seconds(60), [&] { return count() > 40; }));
  for (const auto& writer : writers) writer->Kill();
  EXPECT_LT(count(), kWriters * kRows) << "they were done before they were killed";
  EXPECT_EQ(Sqlite(0, "PRAGMA integrity_check;"), "ok\n");
  Sqlite(1, "INSERT INTO t VALUES(99, 0, 'after');");
  EXPECT_EQ(Sqlite(0, "SELECT x FROM t WHERE w = 99; PRAGMA integrity_check;"), "after\nok\n");
}

TEST_F(LocksOfPrograms, GitInTwoWorktrees) {
  const auto git = [&](int mount, const std::string& tree, Arguments arguments) {
    arguments.insert(arguments.begin(), {"git", "-C", At(mount, tree), "-c", "user.name=n", "-c",
                                         "user.email=e@e", "-c", "gc.auto=0"});
    return RunProgram(arguments);
  };
  ASSERT_EQ(RunProgram({"git", "init", "-q", At(0, "main")}).code, 0);
  WriteFile(At(0, "main/file"), "content");
  ASSERT_EQ(git(0, "main", {"add", "."}).code, 0);
  ASSERT_EQ(git(0, "main", {"commit", "-qm", "first"}).code, 0);
  ASSERT_EQ(git(0, "main", {"worktree", "add", "-q", "../second"}).code, 0);
  // The paths that a worktree is found by are those of the mount it was made on.
  WriteFile(At(0, "second/.git"), "gitdir: " + At(1, "main/.git/worktrees/second") + "\n");
  const auto commit = [&](int mount, const std::string& tree) {
    for (int i = 0; i < 10; ++i) {
      WriteFile(At(mount, tree + "/" + tree + std::to_string(i)), RandomBytes(1, 3000));
      EXPECT_EQ(git(mount, tree, {"add", "."}).code, 0);
      const Finished done = git(mount, tree, {"commit", "-qm", std::to_string(i)});
      EXPECT_EQ(done.code, 0) << done.All();
    }
  };
  std::thread other([&] { commit(1, "second"); });
  commit(0, "main");
  other.join();
  for (const int mount : {0, 1}) {
    const Finished fsck = git(mount, "main", {"fsck", "--strict"});
    EXPECT_EQ(fsck.code, 0) << fsck.All();
    EXPECT_EQ(git(mount, "main", {"rev-list", "--count", "--all"}).out, "21\n");
  }
}

}  // namespace
}  // namespace airstore::e2e
