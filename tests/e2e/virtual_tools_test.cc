// SPDX-License-Identifier: Apache-2.0
//
// Tools/ and .airstore/: what runs at the gateway looks like a program here.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "tests/e2e/virtual_nodes.h"

namespace airstore::e2e {
namespace {

using std::chrono::seconds;

class VirtualTools : public VirtualNodes {};

// Nobody may be there to take away what has ended.
bool Runs(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(file, text);
  const size_t name_end = text.rfind(')');
  return name_end != std::string::npos && text.size() > name_end + 2 && text[name_end + 2] != 'Z';
}

TEST_F(VirtualTools, PlainWorkspacesStayAsTheyAre) {
  MountIt();
  EXPECT_TRUE(NamesIn(mount()).empty());
  EXPECT_FALSE(Exists(At("Tools")));
  EXPECT_FALSE(Exists(At(".airstore/config")));
  // Names are the workspace's while nothing else has them.
  std::filesystem::create_directory(At("Tools"));
  WriteFile(At("Tools/mine"), "a file");
  PutTool("hello", "echo hello\n");
  host().Unmount(mount());
  MountIt();
  EXPECT_EQ(NamesIn(mount()), (std::set<std::string>{".airstore", "Tools"}));
  EXPECT_EQ(NamesIn(At("Tools")), (std::set<std::string>{"mine"})) << "storage's is not hidden";
  std::filesystem::remove_all(At("Tools"));
  EXPECT_FALSE(Exists(At("Tools/mine")));
}

TEST_F(VirtualTools, RunAtTheGateway) {
  PutTool("hello", "printf 'out:%s|' \"$@\"; printf 'err:%s' \"$#\" >&2; exit 3\n");
  PutTool("big", "head -c 5000000 /dev/zero | tr '\\0' x\n");
  PutTool("x.local", "/bin/echo local");
  MountIt();
  EXPECT_EQ(NamesIn(mount()), (std::set<std::string>{".airstore", "Tools"}));
  EXPECT_EQ(NamesIn(At("Tools")), (std::set<std::string>{"big", "hello", "x.local"}));
  const Finished ran = RunProgram({At("Tools/hello"), "a b", "", "--help", "*'\"$x"});
  EXPECT_EQ(ran.code, 3);
  EXPECT_EQ(ran.out, "out:a b|out:|out:--help|out:*'\"$x|");
  EXPECT_EQ(ran.err, "err:4");
  const Finished help = RunProgram({At("Tools/hello"), "--help"});
  EXPECT_EQ(help.code, 0);
  EXPECT_EQ(help.out, "help of hello\n\nIt runs at the gateway, and reads no standard input.\n");
  EXPECT_EQ(RunProgram({At("Tools/hello"), "-h"}).out, help.out);
  EXPECT_EQ(RunProgram({At("Tools/hello"), "-h", "db"}).out, "out:-h|out:db|");
  EXPECT_EQ(RunProgram({At("Tools/big")}).out, std::string(5000000, 'x'));
  EXPECT_EQ(RunProgram({At("Tools/x.local"), "1", "2"}).out, "local 1 2\n");
  const Finished odd = RunProgram({At("Tools/hello"), "no \xff text"});
  EXPECT_EQ(odd.code, 1);
  EXPECT_NE(odd.err.find("UTF-8"), std::string::npos) << odd.All();
  // By a link whose name is the tool's, as programs of the first shim do.
  std::filesystem::create_symlink(At(".airstore/tool-shim"), host().Path("hello"));
  const Finished linked = RunProgram({host().Path("hello"), "x"},
                                     {.env = {{"AIRSTORE_CONFIG_PATH", At(".airstore/config")}}});
  EXPECT_EQ(linked.code, 3) << linked.All();
  EXPECT_EQ(linked.out, "out:x|");
}

TEST_F(VirtualTools, KnowNoToken) {
  PutTool("hello", "echo hello\n");
  MountIt();
  const std::string secret = ReadFile(token()).substr(0, 20);
  const std::string config = ReadFile(At(".airstore/config"));
  EXPECT_EQ(config.find(secret), std::string::npos);
  EXPECT_NE(config.find("\"gateway_addr\": \"" + host().gateway_address() + "\""),
            std::string::npos)
      << config;
  EXPECT_EQ(ReadFile(At("Tools/hello")).find(secret), std::string::npos);
  // Who cannot read the mount does not get in.
  const Finished refused =
      RunProgram({Program("airstore-shim"), "--", "hello"},
                 {.env = {{"AIRSTORE_TOOL_SOCKET", nlohmann::json::parse(config)["socket"]},
                          {"AIRSTORE_TOOL_TICKET", "00000000000000000000000000000000"}}});
  EXPECT_EQ(refused.code, 126);
  EXPECT_EQ(refused.out, "");
}

TEST_F(VirtualTools, OutputComesAsItIsMadeAndTheEndEndsTheRun) {
  PutTool("slow", "echo first; sleep 1000 & echo $! > " + host().Path("pid") + "; wait\n");
  MountIt();
  Process running({At("Tools/slow")}, {.output_file = host().Path("said")});
  EXPECT_TRUE(WaitUntil(seconds(20), [&] {
    return Exists(host().Path("said")) && ReadFile(host().Path("said")) == "first\n";
  }));
  ASSERT_TRUE(WaitUntil(seconds(20), [&] {
    return Exists(host().Path("pid")) && ReadFile(host().Path("pid")).ends_with("\n");
  }));
  const pid_t sleeper = std::stoi(ReadFile(host().Path("pid")));
  EXPECT_TRUE(Runs(sleeper));
  running.Signal(SIGINT);
  EXPECT_EQ(running.Wait(seconds(20)), 128 + SIGINT);
  EXPECT_TRUE(WaitUntil(seconds(20), [&] { return Asked("cancelled slow") == 1; }));
  EXPECT_TRUE(WaitUntil(seconds(20), [&] { return !Runs(sleeper); }));
}

TEST_F(VirtualTools, AHundredAtOnce) {
  PutTool("echo", "echo \"$1\"; exit $(( $1 % 7 ))\n");
  MountIt();
  std::vector<Finished> results(100);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < results.size(); ++i) {
    threads.emplace_back([&, i] {
      results[i] = RunProgram({At("Tools/echo"), std::to_string(i)});
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < results.size(); ++i) {
    EXPECT_EQ(results[i].out, std::to_string(i) + "\n") << results[i].All();
    EXPECT_EQ(results[i].code, static_cast<int>(i % 7));
  }
}

TEST_F(VirtualTools, ChangeNothing) {
  PutTool("hello", "echo hello\n");
  MountIt();
  const std::string tool = At("Tools/hello");
  EXPECT_EQ(ErrnoOf(open(tool.c_str(), O_WRONLY)), EROFS);
  EXPECT_EQ(ErrnoOf(open(tool.c_str(), O_RDWR | O_TRUNC)), EROFS);
  EXPECT_EQ(ErrnoOf(open(At("Tools/new").c_str(), O_CREAT | O_WRONLY, 0644)), EROFS);
  EXPECT_EQ(ErrnoOf(unlink(tool.c_str())), EROFS);
  EXPECT_EQ(ErrnoOf(mkdir(At("Tools/d").c_str(), 0755)), EROFS);
  EXPECT_EQ(ErrnoOf(symlink("x", At("Tools/l").c_str())), EROFS);
  EXPECT_EQ(ErrnoOf(chmod(tool.c_str(), 0700)), EROFS);
  EXPECT_EQ(ErrnoOf(truncate(tool.c_str(), 0)), EROFS);
  EXPECT_EQ(ErrnoOf(rmdir(At("Tools").c_str())), EPERM);
  EXPECT_EQ(ErrnoOf(rename(At("Tools").c_str(), At("x").c_str())), EPERM);
  EXPECT_EQ(ErrnoOf(rename(tool.c_str(), At("x").c_str())), EXDEV);
  EXPECT_EQ(ErrnoOf(rename(tool.c_str(), At("Tools/x").c_str())), EROFS);
  EXPECT_EQ(ErrnoOf(link(tool.c_str(), At("x").c_str())), EXDEV);
  EXPECT_EQ(ErrnoOf(mkdir(At("Tools").c_str(), 0755)), EEXIST);
  // Out of it by copying.
  EXPECT_EQ(RunProgram({"cp", tool, At("copy")}).code, 0);
  EXPECT_EQ(ReadFile(At("copy")), ReadFile(tool));
  EXPECT_EQ(RunProgram({At("copy")}).out, "hello\n");
  // Nothing of it is in the workspace.
  RunOk({"sync", At("copy")});
  mkdir(At("own").c_str(), 0755);
  host().Unmount(mount());
  MountIt({"--virtual", "off"});
  EXPECT_EQ(NamesIn(mount()), (std::set<std::string>{"copy", "own"}));
}

TEST_F(VirtualTools, NewOnesAreFound) {
  PutTool("one", "echo 1\n");
  MountIt();
  EXPECT_EQ(RunProgram({At("Tools/one")}).out, "1\n");
  EXPECT_FALSE(Exists(At("Tools/two")));
  PutTool("two", "echo 2\n");
  unlink(Service("tools/one").c_str());
  EXPECT_TRUE(WaitUntil(seconds(60), [&] { return Exists(At("Tools/two")); }));
  EXPECT_EQ(RunProgram({At("Tools/two")}).out, "2\n");
  EXPECT_TRUE(WaitUntil(seconds(60), [&] { return !Exists(At("Tools/one")); }));
  EXPECT_EQ(NamesIn(At("Tools")), (std::set<std::string>{"two"}));
}

TEST_F(VirtualTools, GoOnAfterABrokersDeath) {
  PutTool("hello", "echo hello $1\n");
  MountIt();
  const UniqueFd held(Open(At("Tools/hello"), O_RDONLY));
  const std::string script = ReadFile(At("Tools/hello"));
  host().KillBroker();
  host().StartBroker();
  EXPECT_EQ(ReadSome(held.get(), 65536, 0), script);
  EXPECT_TRUE(WaitUntil(seconds(30), [&] {
    return RunProgram({At("Tools/hello"), "again"}).out == "hello again\n";
  }));
  EXPECT_EQ(ReadFile(At("Tools/hello")), script);
  EXPECT_EQ(NamesIn(mount()), (std::set<std::string>{".airstore", "Tools"}));
}

}  // namespace
}  // namespace airstore::e2e
