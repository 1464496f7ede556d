// SPDX-License-Identifier: Apache-2.0
//
// Programs: who may run them, and that a running one is not written.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/posix/calls.h"

namespace airstore::posix {
namespace {

// Runs "./it" in the working directory; errno of execve, else what it exited with.
Outcome Execute() {
  int pipes[2];
  if (pipe2(pipes, O_CLOEXEC) != 0) return {errno};
  const pid_t child = fork();
  if (child == 0) {
    char* const arguments[] = {const_cast<char*>("it"), nullptr};
    execve("./it", arguments, environ);
    const int error = errno;
    _exit(write(pipes[1], &error, sizeof error) == sizeof error ? 126 : 125);
  }
  close(pipes[1]);
  int error = 0;
  const bool failed = read(pipes[0], &error, sizeof error) == sizeof error;
  close(pipes[0]);
  int status = 0;
  waitpid(child, &status, 0);
  return failed ? Outcome(error) : Outcome(0, std::to_string(WEXITSTATUS(status)));
}

void MakeProgram(mode_t mode) {
  MakeFile("it", mode, e2e::ReadFile("/bin/true"));
  GiveTo("it", Owner());
}

class Programs : public Lockstep {};

TEST_F(Programs, RunForWhoMay) {
  for (const Caller& caller : AllCallers()) {
    for (const mode_t mode : {0755, 0644, 0711, 0100, 0010, 0001, 0770, 0707, 0666}) {
      Add({"a program of mode " + std::to_string(mode), [=] { MakeProgram(mode); }, caller,
           Execute});
    }
  }
  Add({"a script", [] { MakeFile("it", 0755, "#!/bin/sh\nexit 7\n"); }, Other(), Execute});
  Add({"a script nobody may read", [] { MakeFile("it", 0711, "#!/bin/sh\nexit 7\n"); }, Other(),
       Execute});
  Add({"no program", [] { MakeFile("it", 0755, "nothing"); }, Root(), Execute});
  Add({"an empty file", [] { MakeFile("it", 0755, ""); }, Root(), Execute});
  Add({"a script of a missing interpreter", [] { MakeFile("it", 0755, "#!/nowhere\n"); }, Root(),
       Execute});
  for (const char* kind : {"nothing", "directory", "FIFO", "socket", "link to itself"}) {
    Add({std::string("a ") + kind, [=] { KindOf(kind).make("it", 0755); }, Root(), Execute});
  }
  Run({0, EACCES, ENOENT, ENOEXEC, ELOOP});
}

TEST_F(Programs, AreNotRunWhileTheyAreWritten) {
  for (const int flags : {O_WRONLY, O_RDWR, O_RDONLY}) {
    Add({"opened with " + std::to_string(flags), [] { MakeProgram(0755); }, Root(),
         [=]() -> Outcome {
           const UniqueFd fd(open("it", flags | O_CLOEXEC));
           return Execute();
         }});
  }
  Run({0, ETXTBSY});
}

TEST_F(Programs, AreNotWrittenWhileTheyRun) {
  for (const PathCall& call : PathCalls()) {
    if (!call.name.starts_with("open") && call.name != "truncate" && call.name != "unlink" &&
        call.name != "rename to" && call.name != "chmod") {
      continue;
    }
    Add({call.name,
         [] {
           MakeFile("source");
           MakeFile("it", 0755, e2e::ReadFile("/bin/sleep"));
         },
         Root(),
         [&call]() -> Outcome {
           int pipes[2];
           if (pipe2(pipes, O_CLOEXEC) != 0) return {errno};
           const pid_t child = fork();
           if (child == 0) {
             char* const arguments[] = {const_cast<char*>("it"), const_cast<char*>("60"), nullptr};
             execve("./it", arguments, environ);
             _exit(126);
           }
           close(pipes[1]);
           char byte;
           (void)!read(pipes[0], &byte, 1);  // ends when it runs
           close(pipes[0]);
           const Outcome done = call.run("it");
           kill(child, SIGKILL);
           int status = 0;
           waitpid(child, &status, 0);
           return {done.error, std::to_string(WIFSIGNALED(status))};
         }});
  }
  Run({0, ETXTBSY});
}

}  // namespace
}  // namespace airstore::posix
