// SPDX-License-Identifier: Apache-2.0
//
// Mounts of our own gateway when it speaks v1 only: what programs make there is there after a
// remount with empty caches, whatever died meanwhile.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <functional>

#include "tests/e2e/support/host_test.h"

namespace airstore::e2e {
namespace {

class V1Ours : public MountTest {
 protected:
  HostOptions Options() const override {
    HostOptions options;
    options.gateway_arguments = {"--protocol", "v1"};
    options.broker_arguments = {"--v1-freshness", "1s"};
    return options;
  }
  std::string Shell(const std::string& directory, const std::string& script) {
    return RunOk({"/bin/bash", "-e", "-c", script}, {.directory = directory});
  }
  std::string Outside(const std::string& name) { return host().Path(name); }
  // Names, types, modes, targets and bytes: v1 has no words for the rest.
  void ExpectSame(const std::string& expected, const std::string& found) {
    const std::string list =
        "find . \\( -type d -o -type l \\) -printf '%p %y %m %l\\n' -o "
        "-printf '%p %y %m %s\\n' | sort";
    EXPECT_EQ(Shell(found, list), Shell(expected, list));
    EXPECT_EQ(RunProgram({"diff", "-r", "--no-dereference", expected, found}).All(),
              Finished{}.All());
  }
};

TEST_F(V1Ours, ProtocolIsShown) {
  EXPECT_EQ(host().SessionStatus("v1").at("protocol"), "v1");
  EXPECT_EQ(host().SessionStatus("v1").at("write_lease"), false);
}

TEST_F(V1Ours, GitClones) {
  const std::string source = Outside("source");
  std::filesystem::create_directory(source);
  Shell(source, R"sh(
    git init -q -b main .
    for i in $(seq 60); do
      mkdir -p d$((i % 5)); head -c $((i * 331)) /dev/urandom >d$((i % 5))/f$i
    done
    chmod 755 d0/f5; ln -s d0/f5 link
    git add . && git -c user.name=a -c user.email=a@b commit -qm one)sh");
  Shell(mount(), "git clone -q --no-local '" + source + "' clone");
  EXPECT_EQ(Shell(At("clone"), "git status --porcelain"), "");
  Shell(At("clone"), R"sh(
    echo changed >d1/f1
    git -c user.name=a -c user.email=a@b commit -qam two
    git mv d2 moved
    git -c user.name=a -c user.email=a@b commit -qm three
    git gc -q)sh");
  const std::string copy = Outside("copy");
  Shell("/", "cp -r '" + At("clone") + "' '" + copy + "'");
  RemountFresh();
  ExpectSame(copy, At("clone"));
  EXPECT_EQ(Shell(At("clone"), "git status --porcelain"), "");
  Shell(At("clone"), "git fsck --full --strict 2>&1");
}

TEST_F(V1Ours, SqliteKeepsWhatWasCommitted) {
  const std::string sql = R"sh(
    sqlite3 db "PRAGMA journal_mode=$1; CREATE TABLE IF NOT EXISTS t(a INTEGER, b TEXT);" >/dev/null
    for i in $(seq 5); do
      sqlite3 db "BEGIN; INSERT INTO t SELECT value, hex(randomblob(200))
        FROM generate_series(1, 100); COMMIT;"
    done)sh";
  if (RunProgram({"sqlite3", ":memory:", "SELECT count(*) FROM generate_series(1, 3)"}).code != 0) {
    GTEST_SKIP() << "sqlite3 is not installed";
  }
  for (const std::string mode : {"DELETE", "WAL", "TRUNCATE"}) {
    std::filesystem::create_directory(At(mode));
    RunOk({"/bin/bash", "-e", "-c", sql, "bash", mode}, {.directory = At(mode)});
  }
  RemountFresh();
  for (const std::string mode : {"DELETE", "WAL", "TRUNCATE"}) {
    EXPECT_EQ(Shell(At(mode), "sqlite3 db 'PRAGMA integrity_check; SELECT count(*) FROM t'"),
              "ok\n500\n")
        << mode;
  }
}

TEST_F(V1Ours, TarPacksAndUnpacks) {
  const std::string source = Outside("source");
  Shell("/", "mkdir -p '" + source + "' && cp -r /usr/share/perl5/Debian '" + source +
                 "/a' 2>/dev/null || cp -r /usr/include/linux '" + source + "/a'");
  Shell(source, "ln -s a b; mkdir empty; touch none; chmod 600 none; chmod 750 empty");
  Shell(source, "tar -cf ../packed.tar .");
  std::filesystem::create_directory(At("unpacked"));
  Shell(At("unpacked"), "tar -xmf '" + Outside("packed.tar") + "'");
  Shell(At("unpacked"), "tar -cf ../packed.tar .");
  RemountFresh();
  ExpectSame(source, At("unpacked"));
  std::filesystem::create_directory(Outside("again"));
  Shell(Outside("again"), "tar -xf '" + At("packed.tar") + "'");
  ExpectSame(source, Outside("again"));
}

TEST_F(V1Ours, AHundredMegabytes) {
  const std::string bytes = RandomBytes(7, 100u << 20);
  WriteFile(At("large"), bytes);
  RemountFresh();
  ASSERT_TRUE(ReadFile(At("large")) == bytes);
  {
    const UniqueFd file = Open(At("large"), O_RDWR);
    WriteAt(file.get(), "head", 0);
    WriteAt(file.get(), "far", 77u << 20);
    ASSERT_EQ(fsync(file.get()), 0);
  }
  RemountFresh();
  std::string changed = bytes;
  changed.replace(0, 4, "head");
  changed.replace(77u << 20, 3, "far");
  EXPECT_TRUE(ReadFile(At("large")) == changed);
}

// With the meaning that a write at offset 0 had once, for clients that rely on it.
class V1OffsetZero : public V1Ours {
 protected:
  V1OffsetZero() {
    std::string pattern = (std::filesystem::temp_directory_path() / "airstore-v1-XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
  }
  ~V1OffsetZero() override { std::filesystem::remove_all(directory_); }
  HostOptions Options() const override {
    HostOptions options = V1Ours::Options();
    WriteFile(directory_ + "/gateway.toml", "v1_offset_zero_replaces = true\n");
    options.gateway_arguments.insert(options.gateway_arguments.end(),
                                     {"--config", directory_ + "/gateway.toml"});
    return options;
  }

 private:
  std::string directory_;
};

TEST_F(V1OffsetZero, KeepsWhatIsBehindAChange) {
  std::string bytes = RandomBytes(8, 10u << 20);
  WriteFile(At("file"), bytes);
  RemountFresh();
  {
    const UniqueFd file = Open(At("file"), O_RDWR);
    WriteAt(file.get(), "head", 0);
    ASSERT_EQ(fsync(file.get()), 0);
  }
  RemountFresh();
  bytes.replace(0, 4, "head");
  EXPECT_TRUE(ReadFile(At("file")) == bytes);
}

// Each file that a sync has returned for is there, and whole, and each directory has one name,
// whoever dies. The writer is a process of its own: a broker that this one starts would otherwise
// close its files, and wait for itself.
TEST_F(V1Ours, NothingAcknowledgedIsLostWhoeverIsKilled) {
  WriteFile(Outside("bytes"), RandomBytes(1, 300'000));
  const std::string script = R"sh(
    set -e -o noclobber
    for i in $(seq 100000); do
      { echo $i; cat "$2"; } >"$1/$i.new"; sync "$1/$i.new"; mv -T "$1/$i.new" "$1/f$i"
      mkdir "$1/new$i"; echo $i >"$1/new$i/x"; mv -T "$1/new$i" "$1/d$i"
      echo $i >|"$3"
    done)sh";
  Process writer({"/bin/bash", "-c", script, "writer", mount(), Outside("bytes"), Outside("done")},
                 {.output_file = Outside("writer.log")});
  const auto done = [&] {
    const std::string text = Exists(Outside("done")) ? ReadFile(Outside("done")) : "";
    return text.empty() ? 0 : std::stoi(text);
  };
  const auto goes_on = [&] {
    const int before = done();
    return WaitUntil(std::chrono::seconds(60), [&] { return done() >= before + 3; });
  };
  const auto kill_frontends = [&] {
    const auto pids = host().FrontendPids();
    EXPECT_FALSE(pids.empty());
    for (const pid_t pid : pids) kill(pid, SIGKILL);
  };
  const std::vector<std::function<void()>> deaths = {
      [&] {
        host().KillBroker();
        host().StartBroker();
      },
      [&] {
        host().KillGateway();
        host().StartGateway();
      },
      kill_frontends,
      [&] {
        host().KillGateway();
        host().KillBroker();
        host().StartGateway();
        host().StartBroker();
      },
  };
  for (size_t i = 0; i < deaths.size(); ++i) {
    EXPECT_TRUE(goes_on()) << "before death " << i << ": " << ReadFile(Outside("writer.log"));
    deaths[i]();
  }
  EXPECT_TRUE(goes_on()) << ReadFile(Outside("writer.log"));
  EXPECT_TRUE(writer.running()) << ReadFile(Outside("writer.log"));
  // Of both at once nothing is left to go on with, and all is at the gateway.
  host().KillBrokerAndMounts();
  writer.Kill();
  const int last = done();
  EXPECT_GE(last, 15);
  host().WipeBrokerState();
  host().StartBroker();
  host().Mount("work", "mnt");
  const std::string bytes = ReadFile(Outside("bytes"));
  for (int i = 1; i <= last; ++i) {
    const std::string number = std::to_string(i);
    ASSERT_TRUE(ReadFile(At("f" + number)) == number + "\n" + bytes) << i;
    ASSERT_EQ(ReadFile(At("d" + number + "/x")), number + "\n");
    ASSERT_FALSE(Exists(At("new" + number)));
  }
}

// The gateway forgets content with its name.
TEST_F(V1Ours, OpenFilesOutliveTheirNames) {
  const std::string bytes = RandomBytes(3, 20u << 20);
  for (const std::string name : {"removed", "replaced"}) WriteFile(At(name), bytes);
  RemountFresh();
  const UniqueFd removed = Open(At("removed"), O_RDONLY);
  const UniqueFd replaced = Open(At("replaced"), O_RDONLY);
  std::filesystem::remove(At("removed"));
  WriteFile(At("new"), "new");
  std::filesystem::rename(At("new"), At("replaced"));
  EXPECT_TRUE(ReadSome(removed.get(), bytes.size(), 0) == bytes);
  EXPECT_TRUE(ReadSome(replaced.get(), bytes.size(), 0) == bytes);
  EXPECT_EQ(ReadFile(At("replaced")), "new");
}

TEST_F(V1Ours, TheGatewayMayBeAwayForAWhile) {
  WriteFile(At("before"), "before");
  host().StopGateway();
  Process writer({"/bin/sh", "-c", "printf during >\"$1\"", "sh", At("during")});
  host().KillBroker();
  host().StartBroker();
  host().StartGateway();
  EXPECT_EQ(writer.Wait(std::chrono::seconds(60)), 0);
  RemountFresh();
  EXPECT_EQ(ReadFile(At("before")), "before");
  EXPECT_EQ(ReadFile(At("during")), "during");
}

}  // namespace
}  // namespace airstore::e2e
