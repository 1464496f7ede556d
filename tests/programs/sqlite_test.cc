// SPDX-License-Identifier: Apache-2.0
//
// SQLite in every journal mode, by many processes over two mounts of one workspace.
#include <algorithm>
#include <iostream>
#include <memory>
#include <set>
#include <sstream>

#include "tests/programs/programs.h"

namespace airstore::programs {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int kWriters = 8;

class Sqlite : public Programs, public testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    Programs::SetUp();
    if (!IsSkipped()) second_ = SecondMount();
  }
  std::string Mode() const { return GetParam(); }
  // Of these two a killed writer may leave a database that SQLite itself calls broken.
  bool SurvivesKills() const { return Mode() != "off" && Mode() != "memory"; }
  std::string Ask(int mount, const std::string& sql) {
    return RunOk({"sqlite3", "-cmd", ".timeout 60000", Database(mount), sql});
  }
  std::string Database(int which) { return (which == 0 ? mount() : second_) + "/db"; }
  std::string Acks(int writer) { return host().Path("acks" + std::to_string(writer)); }
  // One more process, every other one on the second mount, which inserts `rows` rows, one for each
  // transaction, and says which ones are committed.
  std::unique_ptr<Process> StartWriter(int number, int rows) {
    const std::string script = host().Path("script" + std::to_string(number));
    std::ostringstream sql;
    sql << "PRAGMA synchronous=full;\n";
    // The mode is the database's in WAL only.
    if (Mode() != "wal")
      sql << ".output /dev/null\nPRAGMA journal_mode=" << Mode() << ";\n.output\n";
    for (int row = 0; row < rows; ++row) {
      sql << "BEGIN IMMEDIATE; INSERT INTO t VALUES(" << number << ", " << row
          << ", hex(randomblob(200))); UPDATE total SET n = n + 1; COMMIT; SELECT 'row " << row
          << "';\n";
    }
    WriteFile(script, sql.str());
    e2e::RunOptions options;
    options.output_file = Acks(number);
    return std::make_unique<Process>(
        Arguments{"stdbuf", "-oL", "sqlite3", "-bail", "-cmd", ".timeout 60000",
                  Database(number % 2), ".read " + script},
        options);
  }
  // Of the writer's committed rows the last; -1: none.
  int LastAck(int writer) {
    std::istringstream lines(ReadFile(Acks(writer)));
    int last = -1;
    for (std::string line; std::getline(lines, line);) {
      if (line.rfind("row ", 0) == 0) last = std::stoi(line.substr(4));
    }
    return last;
  }
  void ExpectNothingLost(int mount, const std::string& when) {
    EXPECT_EQ(Ask(mount, "PRAGMA integrity_check;"), "ok\n") << when;
    EXPECT_EQ(Ask(mount, "SELECT (SELECT count(*) FROM t) - n FROM total;"), "0\n") << when;
    for (int i = 0; i < kWriters; ++i) {
      const std::string found = Ask(
          mount,
          "SELECT count(*), ifnull(max(n), -1) + 1 FROM t WHERE w = " + std::to_string(i) + ";");
      const size_t bar = found.find('|');
      EXPECT_EQ(found.substr(0, bar) + "\n", found.substr(bar + 1)) << when << ": gaps";
      EXPECT_GT(std::stoi(found), LastAck(i)) << when << ": of writer " << i;
    }
  }
  std::string second_;
};
INSTANTIATE_TEST_SUITE_P(, Sqlite,
                         testing::Values("delete", "truncate", "persist", "memory", "wal", "off"),
                         [](const auto& mode) { return std::string(mode.param); });

TEST_P(Sqlite, LosesNothingThatWasCommitted) {
  NEED("sqlite3", "stdbuf");
  const int rows = static_cast<int>(e2e::EnvOr("AIRSTORE_E2E_SQLITE_ROWS", 12));
  EXPECT_EQ(Ask(0, "PRAGMA journal_mode=" + Mode() + ";"), Mode() + "\n");
  Ask(0,
      "CREATE TABLE t(w INT, n INT, x TEXT, UNIQUE(w, n)); CREATE TABLE total(n INT); "
      "INSERT INTO total VALUES(0);");
  // The first half is killed in the middle; the other half goes on to its end.
  constexpr int kEndless = 5000;
  const auto begun = Now();
  std::vector<std::unique_ptr<Process>> writers;
  const int killed = SurvivesKills() ? kWriters / 2 : 0;
  for (int i = 0; i < kWriters; ++i)
    writers.push_back(StartWriter(i, i < killed ? kEndless : rows));
  for (int i = 0; i < killed; ++i) {
    EXPECT_TRUE(WaitUntil(seconds(60), [&] { return LastAck(i) >= 2; })) << ReadFile(Acks(i));
    writers[static_cast<size_t>(i)]->Kill();
    EXPECT_LT(LastAck(i), kEndless - 1) << "it was done before it was killed";
  }
  for (int i = killed; i < kWriters; ++i) {
    EXPECT_EQ(writers[static_cast<size_t>(i)]->Wait(seconds(60)), 0) << ReadFile(Acks(i));
    EXPECT_EQ(LastAck(i), rows - 1);
  }
  const auto took = std::chrono::duration_cast<milliseconds>(Now() - begun);
  ExpectNothingLost(0, "first mount");
  ExpectNothingLost(1, "second mount");
  std::cout << Mode() << ": " << Ask(1, "SELECT n FROM total;") << " transactions in "
            << took.count() << " ms\n";
  Ask(1, "INSERT INTO t VALUES(99, 0, 'after');");
  EXPECT_EQ(Ask(0, "SELECT x FROM t WHERE w = 99; DELETE FROM t WHERE w = 99;"), "after\n");
  RemountFresh();
  ExpectNothingLost(0, "mounted again");
}

}  // namespace
}  // namespace airstore::programs
