// SPDX-License-Identifier: Apache-2.0
//
// The programs that people run: what they make in a mount is what they would make elsewhere, and
// it is at the gateway.
#include <unistd.h>

#include <filesystem>
#include <random>

#include "tests/e2e/support/host_test.h"

namespace airstore::e2e {
namespace {

class Tools : public MountTest {
 protected:
  HostOptions Options() const override { return {.patience = std::chrono::seconds(280)}; }
  static std::string Need(const std::string& program) {
    return std::filesystem::exists("/usr/bin/" + program) ? "" : program + " is not installed";
  }
  // `files` files in directories of 50, about `bytes` each.
  static void MakeTree(const std::string& root, int files, size_t bytes) {
    std::mt19937_64 random(42);
    for (int i = 0; i < files; ++i) {
      const std::string directory =
          root + "/d" + std::to_string(i / 500) + "/e" + std::to_string(i / 50 % 10);
      std::filesystem::create_directories(directory);
      const std::string path = directory + "/file" + std::to_string(i) + ".txt";
      WriteFile(path, RandomBytes(random(), random() % (2 * bytes)));
      if (i % 97 == 0) std::filesystem::permissions(path, std::filesystem::perms(0755));
      if (i % 101 == 0) std::filesystem::create_symlink("file0.txt", directory + "/link");
    }
  }
  static Finished Shell(const std::string& directory, const std::string& command) {
    return RunProgram({"/bin/sh", "-ec", command},
                      {.directory = directory,
                       .env = {{"GIT_CONFIG_GLOBAL", "/dev/null"},
                               {"GIT_AUTHOR_NAME", "Somebody"},
                               {"GIT_AUTHOR_EMAIL", "s@example.org"},
                               {"GIT_COMMITTER_NAME", "Somebody"},
                               {"GIT_COMMITTER_EMAIL", "s@example.org"},
                               {"LC_ALL", "C"}},
                       .patience = std::chrono::seconds(200)});
  }
};

#define NEED(program) \
  if (const std::string missing = Need(program); !missing.empty()) GTEST_SKIP() << missing

TEST_F(Tools, GitClonesAndFindsNothingChanged) {
  NEED("git");
  const std::string source = host().Path("source");
  MakeTree(source, 4000, 13'000);
  Finished done = Shell(source, "git init -q . && git add . && git commit -q -m one");
  ASSERT_EQ(done.code, 0) << done.All();
  done = Shell(mount(), "git clone -q --no-local '" + source + "' repository");
  ASSERT_EQ(done.code, 0) << done.All();
  const auto check = [&](const char* when) {
    const Finished status = Shell(At("repository"), "git status --porcelain");
    EXPECT_EQ(status.code, 0) << status.All();
    EXPECT_EQ(status.out, "") << when;
    const Finished fsck = Shell(At("repository"), "git fsck --full");
    EXPECT_EQ(fsck.code, 0) << when << ": " << fsck.All();
    const Finished diff =
        Shell(mount(), "diff -r --no-dereference -x .git '" + source + "' repository");
    EXPECT_EQ(diff.code, 0) << when << ": " << diff.All();
  };
  check("after the clone");
  done = Shell(At("repository"),
               "echo changed > d0/e0/file0.txt; git commit -q -am two; git gc -q; git checkout -q "
               "HEAD~1; git checkout -q -");
  EXPECT_EQ(done.code, 0) << done.All();
  EXPECT_EQ(ReadFile(At("repository/d0/e0/file0.txt")), "changed\n");
  ASSERT_EQ(Shell(At("repository"), "git checkout -q HEAD~1").code, 0);
  RemountFresh();
  check("mounted again");
}

TEST_F(Tools, CMakeAndNinjaBuildAndBuildAgain) {
  NEED("cmake");
  NEED("ninja");
  NEED("g++");
  mkdir(At("project").c_str(), 0755);
  WriteFile(At("project/CMakeLists.txt"),
            "cmake_minimum_required(VERSION 3.20)\nproject(small CXX)\n"
            "add_library(parts STATIC one.cc two.cc)\nadd_executable(small main.cc)\n"
            "target_link_libraries(small parts)\n");
  WriteFile(At("project/parts.h"), "int One();\nint Two();\n");
  WriteFile(At("project/one.cc"), "#include \"parts.h\"\nint One() { return 1; }\n");
  WriteFile(At("project/two.cc"), "#include \"parts.h\"\nint Two() { return 2; }\n");
  WriteFile(At("project/main.cc"),
            "#include <cstdio>\n#include \"parts.h\"\n"
            "int main() { std::printf(\"%d\\n\", One() + Two()); }\n");
  const std::string build = At("project/build");
  Finished done =
      Shell(mount(), "cmake -G Ninja -S project -B project/build && ninja -C project/build");
  ASSERT_EQ(done.code, 0) << done.All();
  EXPECT_EQ(RunOk({build + "/small"}), "3\n");
  done = Shell(build, "ninja");
  EXPECT_NE(done.out.find("no work to do"), std::string::npos) << done.All();
  WriteFile(At("project/two.cc"), "#include \"parts.h\"\nint Two() { return 20; }\n");
  done = Shell(build, "ninja");
  ASSERT_EQ(done.code, 0) << done.All();
  EXPECT_EQ(RunOk({build + "/small"}), "21\n");
  RemountFresh();
  done = Shell(build, "ninja -d explain");
  EXPECT_NE(done.out.find("no work to do"), std::string::npos) << done.All();
  EXPECT_EQ(RunOk({build + "/small"}), "21\n");
}

TEST_F(Tools, SqliteKeepsItsTransactions) {
  NEED("sqlite3");
  const std::string database = At("test.db");
  const std::string begin = "PRAGMA busy_timeout = 60000; ";
  ASSERT_EQ(RunOk({"sqlite3", database, "PRAGMA journal_mode = WAL"}), "wal\n");
  RunOk({"sqlite3", database, "CREATE TABLE t (who TEXT, n INTEGER, filler BLOB)"});
  std::string statements = begin;
  for (int i = 0; i < 200; ++i) {
    statements += "BEGIN IMMEDIATE; INSERT INTO t VALUES ('WHO', " + std::to_string(i) +
                  ", randomblob(1000)); UPDATE t SET n = n WHERE n = 0; COMMIT;\n";
  }
  const auto as = [&](const std::string& who) {
    std::string text = statements;
    for (size_t at = 0; (at = text.find("WHO", at)) != std::string::npos;) text.replace(at, 3, who);
    const std::string file = host().Path(who + ".sql");
    WriteFile(file, text);
    return Arguments{"/bin/sh", "-c", "exec sqlite3 -bail '" + database + "' < '" + file + "'"};
  };
  Process one(as("one"), {.output_file = host().Path("one.log")});
  Process two(as("two"), {.output_file = host().Path("two.log")});
  EXPECT_EQ(one.Wait(std::chrono::seconds(120)), 0) << ReadFile(host().Path("one.log"));
  EXPECT_EQ(two.Wait(std::chrono::seconds(120)), 0) << ReadFile(host().Path("two.log"));
  const auto check = [&] {
    EXPECT_EQ(RunOk({"sqlite3", database, "PRAGMA integrity_check"}), "ok\n");
    EXPECT_EQ(RunOk({"sqlite3", database, "SELECT who, COUNT(*) FROM t GROUP BY who ORDER BY who"}),
              "one|200\ntwo|200\n");
  };
  check();
  RemountFresh();
  check();
}

TEST_F(Tools, TarPacksAndUnpacksTenThousandFiles) {
  NEED("tar");
  const std::string source = host().Path("source");
  MakeTree(source, 10'000, 1500);
  RunOk({"tar", "-C", source, "--format=pax", "-cf", host().Path("in.tar"), "."});
  mkdir(At("tree").c_str(), 0755);
  Finished done = RunProgram({"tar", "-C", At("tree"), "-xpf", host().Path("in.tar")});
  ASSERT_EQ(done.code, 0) << done.All();
  const TreeEntries expected = Tree(source);
  EXPECT_EQ(Difference(expected, Tree(At("tree"))), "");
  RunOk({"tar", "-C", At("tree"), "--format=pax", "-cf", host().Path("out.tar"), "."});
  const std::string back = host().Path("back");
  mkdir(back.c_str(), 0755);
  RunOk({"tar", "-C", back, "-xpf", host().Path("out.tar")});
  EXPECT_EQ(Difference(expected, Tree(back)), "");
  RemountFresh();
  EXPECT_EQ(Difference(expected, Tree(At("tree"))), "");
  done = RunProgram({"diff", "-r", "--no-dereference", source, At("tree")});
  EXPECT_EQ(done.code, 0) << done.All();
  done = RunProgram({"rm", "-r", At("tree")});
  EXPECT_EQ(done.code, 0) << done.All();
  EXPECT_EQ(NamesIn(mount()), std::set<std::string>{});
}

}  // namespace
}  // namespace airstore::e2e
