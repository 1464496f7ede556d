// SPDX-License-Identifier: Apache-2.0
//
// Sources/ and Tasks/: what the gateway finds elsewhere, and what its tasks say, as files.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

#include "tests/e2e/virtual_nodes.h"

namespace airstore::e2e {
namespace {

using std::chrono::seconds;

class VirtualSources : public VirtualNodes {};

TEST_F(VirtualSources, ShowListingsAndContents) {
  const std::string large = RandomBytes(1, 9'000'000);
  PutSource("mail/README.md", "# Mail\n");
  PutSource("mail/unread/.query.as", "{\"name\": \"unread\"}");
  PutSource("mail/unread/1.txt", "first\n");
  PutSource("mail/unread/large.bin", large);
  PutSource("mail/unread/.gitignore", "hidden");
  PutSource("notes/all.json", "[1, 2]\n");
  MountIt();
  EXPECT_EQ(NamesIn(mount()), (std::set<std::string>{".airstore", "Sources"}));
  EXPECT_EQ(NamesIn(At("Sources")), (std::set<std::string>{"mail", "notes"}));
  EXPECT_EQ(NamesIn(At("Sources/mail")), (std::set<std::string>{"README.md", "unread"}));
  EXPECT_EQ(NamesIn(At("Sources/mail/unread")),
            (std::set<std::string>{".query.as", "1.txt", "large.bin"}));
  EXPECT_EQ(Stat(At("Sources/mail/unread/large.bin")).st_size, 9'000'000);
  EXPECT_EQ(Stat(At("Sources/mail/unread/.query.as")).st_mode & 07777, 0444u);
  EXPECT_FALSE(Exists(At("Sources/mail/unread/.gitignore")));
  EXPECT_EQ(ReadFile(At("Sources/mail/unread/1.txt")), "first\n");
  EXPECT_EQ(ReadFile(At("Sources/mail/README.md")), "# Mail\n");
  EXPECT_EQ(ReadFile(At("Sources/notes/all.json")), "[1, 2]\n");
  EXPECT_TRUE(ReadFile(At("Sources/mail/unread/large.bin")) == large);
  // A part of it, without the rest.
  host().Unmount(mount());
  MountIt();
  const UniqueFd part(Open(At("Sources/mail/unread/large.bin"), O_RDONLY));
  EXPECT_TRUE(ReadSome(part.get(), 1000, 8'000'000) == large.substr(8'000'000, 1000));
  EXPECT_EQ(ErrnoOf(open(At("Sources/mail/unread/1.txt").c_str(), O_WRONLY)), EROFS);
  EXPECT_EQ(ErrnoOf(unlink(At("Sources/mail/unread/1.txt").c_str())), EROFS);
  // Names that are hidden there are files like others elsewhere.
  WriteFile(At(".gitignore"), "mine");
  EXPECT_EQ(ReadFile(At(".gitignore")), "mine");
}

TEST_F(VirtualSources, EachIsReadOnceForAllMounts) {
  constexpr int kMessages = 500;
  for (int i = 0; i < kMessages; ++i) {
    PutSource("mail/all/" + std::to_string(i) + ".eml",
              "Subject: number " + std::to_string(i) + "\n\nneedle\n");
  }
  MountIt();
  const std::string other = host().MountWith(token(), "other", {});
  const Finished found = RunProgram({"grep", "-rc", "needle", At("Sources/mail/all")});
  EXPECT_EQ(found.code, 0);
  EXPECT_EQ(std::count(found.out.begin(), found.out.end(), '\n'), kMessages);
  EXPECT_EQ(Asked("read mail/all/"), static_cast<size_t>(kMessages));
  EXPECT_EQ(RunProgram({"grep", "-rlw", "needle", other + "/Sources/mail/all"}).code, 0);
  EXPECT_EQ(Asked("read mail/all/"), static_cast<size_t>(kMessages)) << "again for another mount";
}

TEST_F(VirtualSources, SizesThatNobodyToldAreFoundByOpening) {
  const std::string large = RandomBytes(2, 3'000'000);
  PutSource("mail/v/small.txt", "some words\n");
  PutSource("mail/v/large.bin", large);
  PutSource("mail/v/.unknown", "");
  MountIt();
  EXPECT_EQ(Stat(At("Sources/mail/v/small.txt")).st_size, 0);
  EXPECT_EQ(ReadFile(At("Sources/mail/v/small.txt")), "some words\n");
  EXPECT_EQ(RunProgram({"cat", At("Sources/mail/v/large.bin")}).out == large, true);
  EXPECT_TRUE(WaitUntil(seconds(20),
                        [&] { return Stat(At("Sources/mail/v/large.bin")).st_size == 3'000'000; }));
  EXPECT_TRUE(ReadFile(At("Sources/mail/v/large.bin")) == large);
  RunOk({"cp", At("Sources/mail/v/small.txt"), At("copy")});
  EXPECT_EQ(ReadFile(At("copy")), "some words\n");
}

TEST_F(VirtualSources, DirectoriesThatAreMadeAreViews) {
  PutSource("mail/README.md", "# Mail\n");
  MountIt();
  EXPECT_EQ(mkdir(At("Sources/mail/invoices").c_str(), 0755), 0) << strerror(errno);
  EXPECT_EQ(ReadFile(At("Sources/mail/invoices/found.txt")), "made by invoices\n");
  EXPECT_EQ(ErrnoOf(mkdir(At("Sources/new").c_str(), 0755)), EPERM);
  EXPECT_EQ(ErrnoOf(mkdir(At("Sources/mail/no \xff text").c_str(), 0755)), EILSEQ);
  EXPECT_EQ(ErrnoOf(mkdir(At("Sources/mail/invoices/deeper").c_str(), 0755)), EPERM);
  EXPECT_EQ(ErrnoOf(rmdir(At("Sources/mail/invoices").c_str())), EROFS);
  WriteFile(Service("slow"), "");
  EXPECT_EQ(mkdir(At("Sources/mail/later").c_str(), 0755), 0) << strerror(errno);
  unlink(Service("slow").c_str());
  // A file with an extension is a view that is a file; there is nothing to write into it.
  {
    const UniqueFd made(open(At("Sources/mail/all.json").c_str(), O_CREAT | O_WRONLY, 0644));
    EXPECT_TRUE(made) << strerror(errno);
  }
  EXPECT_EQ(ReadFile(At("Sources/mail/all.json")), "made by all\n");
  UniqueFd written(open(At("Sources/mail/some.json").c_str(), O_CREAT | O_WRONLY, 0644));
  EXPECT_TRUE(written) << strerror(errno);
  EXPECT_EQ(ErrnoOf(static_cast<int>(write(written.get(), "x", 1))), EROFS);
  EXPECT_EQ(ErrnoOf(ftruncate(written.get(), 0)), EROFS);
  EXPECT_EQ(ErrnoOf(close(written.release())), 0);
  EXPECT_EQ(ReadFile(At("Sources/mail/some.json")), "made by some\n");
  EXPECT_EQ(ErrnoOf(open(At("Sources/mail/noext").c_str(), O_CREAT | O_WRONLY, 0644)), EPERM);
}

TEST_F(VirtualSources, WhatChangesIsFound) {
  PutSource("mail/v/1.txt", "one\n");
  MountIt();
  EXPECT_EQ(ReadFile(At("Sources/mail/v/1.txt")), "one\n");
  // Also what takes its time: who looks meanwhile gets what is known.
  WriteFile(Service("slow"), "");
  PutSource("mail/v/2.txt", "two\n");
  PutSource("mail/v/1.txt", "one and more\n");
  EXPECT_TRUE(WaitUntil(seconds(60), [&] { return Exists(At("Sources/mail/v/2.txt")); }));
  EXPECT_EQ(ReadFile(At("Sources/mail/v/2.txt")), "two\n");
  EXPECT_TRUE(WaitUntil(seconds(60),
                        [&] { return ReadFile(At("Sources/mail/v/1.txt")) == "one and more\n"; }));
}

TEST_F(VirtualSources, AGatewayThatIsAwayLeavesWhatIsCached) {
  PutSource("mail/v/1.txt", "one\n");
  PutSource("mail/v/2.txt", "two\n");
  MountIt();
  EXPECT_EQ(ReadFile(At("Sources/mail/v/1.txt")), "one\n");
  WriteFile(Service("broken"), "");
  EXPECT_EQ(ReadFile(At("Sources/mail/v/1.txt")), "one\n");
  EXPECT_EQ(NamesIn(At("Sources/mail/v")), (std::set<std::string>{"1.txt", "2.txt"}));
  Process reader({"cat", At("Sources/mail/v/2.txt")}, {.output_file = host().Path("out")});
  EXPECT_FALSE(reader.Wait(std::chrono::milliseconds(300)));
  reader.Signal(SIGKILL);
  EXPECT_TRUE(reader.Wait(seconds(30))) << "it could not be killed";
  unlink(Service("broken").c_str());
  EXPECT_TRUE(WaitUntil(seconds(40), [&] {
    const UniqueFd file(open(At("Sources/mail/v/2.txt").c_str(), O_RDONLY));
    return file && ReadSome(file.get(), 10, 0) == "two\n";
  }));
}

TEST_F(VirtualSources, TasksGrowWhileTheyRun) {
  PutTask("t1", "running\nfirst line\n");
  PutTask("t2", "complete 0\nall done\n");
  MountIt();
  EXPECT_EQ(NamesIn(At("Tasks")), (std::set<std::string>{"t1.task", "t2.task"}));
  const std::string done =
      "Task: t2\nStatus: complete\nPrompt: say something\nCreated: 2026-01-02T03:04:05Z\n"
      "Finished: 2026-01-02T03:05:00Z\nExit Code: 0\n\n--- Output ---\nall done\n";
  EXPECT_EQ(Stat(At("Tasks/t2.task")).st_size, static_cast<off_t>(done.size()));
  EXPECT_EQ(ReadFile(At("Tasks/t2.task")), done);
  EXPECT_FALSE(Exists(At("Tasks/t3.task")));
  Process tail({"tail", "-n", "+1", "-s", "0.2", "-f", At("Tasks/t1.task")},
               {.output_file = host().Path("tail")});
  const auto said = [&](const std::string& what) {
    return Exists(host().Path("tail")) &&
           ReadFile(host().Path("tail")).find(what) != std::string::npos;
  };
  EXPECT_TRUE(WaitUntil(seconds(30), [&] { return said("first line\n"); }));
  PutTask("t1", "running\nfirst line\nsecond line\n");
  EXPECT_TRUE(WaitUntil(seconds(30), [&] { return said("second line\n"); }))
      << ReadFile(host().Path("tail"));
  PutTask("t1", "complete 7\nfirst line\nsecond line\n");
  EXPECT_TRUE(WaitUntil(seconds(30), [&] {
    return ReadFile(At("Tasks/t1.task")).find("Exit Code: 7\n") != std::string::npos;
  }));
}

TEST_F(VirtualSources, MountsOfAWorkspaceAgree) {
  PutSource("mail/v/1.txt", "one\n");
  MountIt({"--virtual", "off"});
  EXPECT_TRUE(NamesIn(mount()).empty());
  const std::string second = host().Path("second");
  std::filesystem::create_directory(second);
  const Arguments words = {"mount",        second, "--gateway", host().gateway_address(),
                           "--token-file", token()};
  Arguments on = words;
  on.insert(on.end(), {"--virtual", "on"});
  const Finished refused = host().Airctl(on);
  EXPECT_EQ(refused.code, 4) << refused.All();
  EXPECT_NE(refused.err.find("--virtual off"), std::string::npos) << refused.All();
  Arguments odd = words;
  odd.insert(odd.end(), {"--session", "s-\xc3\xa4"});
  EXPECT_EQ(host().Airctl(odd).code, 2) << "no header can say that";
  EXPECT_EQ(host().Airctl(words).code, 0);
  host().Unmount(second);
}

TEST_F(VirtualSources, SkillsAndMemoryAreStorage) {
  PutTool("hello", "echo hello\n");
  MountIt({"--virtual", "on"});
  EXPECT_EQ(NamesIn(mount()), (std::set<std::string>{".airstore", "Sources", "Tasks", "Tools"}));
  std::filesystem::create_directory(At("Skills"));
  std::filesystem::create_directory(At("Memory"));
  WriteFile(At("Skills/a.md"), "how to");
  WriteFile(At("Memory/b.md"), "what was");
  host().Unmount(mount());
  MountIt();
  EXPECT_EQ(ReadFile(At("Skills/a.md")), "how to");
  EXPECT_EQ(ReadFile(At("Memory/b.md")), "what was");
}

}  // namespace
}  // namespace airstore::e2e
