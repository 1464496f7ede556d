// SPDX-License-Identifier: Apache-2.0
//
// A PostgreSQL cluster in a mount; its socket is outside.
#include <signal.h>

#include <filesystem>
#include <iostream>
#include <sstream>

#include "tests/programs/programs.h"

namespace airstore::programs {
namespace {

using std::chrono::seconds;

class Postgres : public Programs {
 protected:
  void SetUp() override {
    Become(kUser);  // it refuses to be root's
    Programs::SetUp();
    if (IsSkipped()) return;
    if (bin_ = ProgramsOfPostgres(); bin_.empty()) GTEST_SKIP() << "postgresql is not installed";
    socket_ = Outside("socket");
  }
  static std::string ProgramsOfPostgres() {
    const Finished found =
        RunProgram({"/bin/sh", "-c", "ls -d /usr/lib/postgresql/*/bin | tail -n 1"});
    const std::string directory = found.out.substr(0, found.out.find('\n'));
    for (const char* name : {"initdb", "pg_ctl", "pgbench", "pg_amcheck", "pg_checksums", "psql"}) {
      if (!Exists(directory + "/" + name)) return "";
    }
    return directory;
  }
  std::string Run(const std::string& command) {
    return ShellOk(socket_, "export PATH=" + bin_ + ":$PATH PGHOST=" + socket_ +
                                " PGDATABASE=postgres PGDATA=" + At("cluster") + "\n" + command);
  }
  // The log is outside: it says what went wrong when the mount is gone.
  void Start() {
    const Finished done =
        Shell(socket_, bin_ + "/pg_ctl -D '" + At("cluster") + "' -w -t 60 -l '" + socket_ +
                           "/log' -o \"-k " + socket_ + " -c listen_addresses=\" start");
    if (done.code != 0) throw std::runtime_error(done.All() + ReadFile(socket_ + "/log"));
  }
  std::string Sql(const std::string& sql) { return Run("psql -XAtqc \"" + sql + "\""); }
  // All its processes at once; none gets to write anything more.
  void KillAll() {
    std::istringstream file(ReadFile(At("cluster/postmaster.pid")));
    pid_t postmaster = 0;
    file >> postmaster;
    ASSERT_GT(postmaster, 1);
    const std::string pid = std::to_string(postmaster);
    // Stopped first: it would replace a child that is killed.
    kill(postmaster, SIGSTOP);
    std::istringstream children(ReadFile("/proc/" + pid + "/task/" + pid + "/children"));
    int killed = 0;
    for (pid_t child = 0; children >> child; ++killed) kill(child, SIGKILL);
    kill(postmaster, SIGKILL);
    EXPECT_GE(killed, 5);
    EXPECT_TRUE(WaitUntil(seconds(20), [&] { return kill(postmaster, 0) != 0; }));
  }
  void ExpectSound(const std::string& when) {
    // What pgbench adds to one table it adds to each other one in the same transaction.
    EXPECT_EQ(
        Sql("SELECT (SELECT sum(abalance) FROM pgbench_accounts) = s AND (SELECT sum(bbalance) "
            "FROM pgbench_branches) = s AND (SELECT sum(tbalance) FROM pgbench_tellers) = s FROM "
            "(SELECT sum(delta) AS s FROM pgbench_history) AS h"),
        "t\n")
        << when;
    Run("pg_amcheck --install-missing --heapallindexed --rootdescend --parent-check postgres");
  }
  // After a failure, so that the log is seen.
  void TearDown() override {
    if (HasFailure() && Exists(socket_ + "/log")) std::cerr << ReadFile(socket_ + "/log");
    Programs::TearDown();
  }
  std::string bin_;
  std::string socket_;
};

TEST_F(Postgres, RunsIsKilledAndRecovers) {
  if (IsSkipped()) return;
  Run("initdb -A trust --no-locale -E UTF8 --data-checksums >/dev/null");
  Start();
  Run("pgbench -i -q -s 2 2>/dev/null; pgbench -n -c 4 -j 2 -T 3 2>&1 | grep -E '^tps|number of "
      "failed' >&2");
  Sql("CREATE TABLE acked (n int PRIMARY KEY)");
  ExpectSound("after pgbench");

  // Killed under load; each row that psql has printed is committed.
  const std::string acks = socket_ + "/acks";
  std::ostringstream inserts;
  for (int i = 0; i < 100'000; ++i)
    inserts << "INSERT INTO acked VALUES (" << i << ") RETURNING n;\n";
  WriteFile(socket_ + "/inserts", inserts.str());
  const std::string environment = "export PGDATABASE=postgres PGHOST=" + socket_ + "; ";
  Process load = ShellBehind(socket_, environment + bin_ + "/pgbench -n -c 3 -T 60 postgres",
                             socket_ + "/pgbench.log");
  Process writer = ShellBehind(
      socket_, environment + "exec stdbuf -oL " + bin_ + "/psql -XAtq -f inserts", acks);
  const auto acked = [&] {
    std::istringstream lines(ReadFile(acks));
    int last = -1;
    for (std::string line; std::getline(lines, line) && !lines.eof();) {
      if (line.find_first_not_of("0123456789") == std::string::npos) last = std::stoi(line);
    }
    return last;
  };
  ASSERT_TRUE(WaitUntil(seconds(30), [&] { return acked() > 50; })) << ReadFile(acks);
  KillAll();
  EXPECT_NE(load.Wait(seconds(20)), 0) << "pgbench was done before the kill";
  EXPECT_NE(writer.Wait(seconds(20)).value_or(0), 0);
  const int last = acked();
  Start();
  EXPECT_NE(ReadFile(socket_ + "/log").find("automatic recovery in progress"), std::string::npos);
  EXPECT_GE(std::stoi(Sql("SELECT max(n) FROM acked")), last);
  EXPECT_EQ(Sql("SELECT count(*) - max(n) FROM acked"), "1\n");
  ExpectSound("after the kill");

  // A checkpoint, a table that is rewritten, and an index that is made anew.
  Run("psql -Xqc 'VACUUM FULL pgbench_accounts' -c 'REINDEX DATABASE postgres' -c CHECKPOINT");
  Run("pg_ctl -m fast -w stop >/dev/null; pg_checksums --check >/dev/null");
  ExpectTheSameAfterRemount("cluster");
  Run("pg_checksums --check >/dev/null");
  Start();
  ExpectSound("mounted again");
  EXPECT_GE(std::stoi(Sql("SELECT max(n) FROM acked")), last);
  Run("pg_ctl -m immediate -w stop >/dev/null");
}

}  // namespace
}  // namespace airstore::programs
