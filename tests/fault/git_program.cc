// SPDX-License-Identifier: Apache-2.0
//
// Commits of git.
// Log: g COMMIT: git has said that it is made.
#include <cerrno>
#include <cstring>
#include <random>

#include "tests/e2e/support/files.h"
#include "tests/e2e/support/process.h"
#include "tests/fault/ack_log.h"

namespace airstore::fault {
namespace {

e2e::Finished Git(const std::string& directory, e2e::Arguments arguments) {
  e2e::Arguments all = {"git",
                        "-C",
                        directory,
                        "-c",
                        "user.name=somebody",
                        "-c",
                        "user.email=some@body",
                        "-c",
                        "gc.auto=0",
                        "-c",
                        "safe.directory=*"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  return e2e::RunProgram(all, {.env = {{"GIT_CONFIG_GLOBAL", "/dev/null"},
                                       {"GIT_CONFIG_SYSTEM", "/dev/null"},
                                       {"GIT_CEILING_DIRECTORIES", directory + "/.."}}});
}

// What git prints has the text of an errno, and no number.
bool Fail(AckLog& log, const std::string& what, const e2e::Finished& finished) {
  std::string text = finished.err;
  for (char& c : text) c = c == '\n' ? ';' : c;
  constexpr int kKnown[] = {ENOTCONN, ECONNABORTED, ETIMEDOUT, ENOSPC, ESTALE,
                            EACCES,   EINTR,        EIO,       ENOENT};
  errno = ENOENT;  // "not a git repository": it is not there any more
  for (const int code : kKnown) {
    if (text.find(strerror(code)) == std::string::npos) continue;
    errno = code;
    break;
  }
  return log.Fail(what + ": " + text);
}

bool Commit(AckLog& log, const LoadOrder& order, uint64_t number, std::mt19937_64& random) {
  for (int i = 0; i < 3; ++i) {
    const std::string name = order.directory + "/f" + std::to_string(random() % 12);
    try {
      e2e::WriteFile(name, e2e::RandomBytes(random(), random() % 30'000));
    } catch (const std::exception& error) {
      return log.Fail(error.what());
    }
  }
  for (const e2e::Arguments& command :
       {e2e::Arguments{"add", "-A"},
        e2e::Arguments{"commit", "-q", "-m", "number " + std::to_string(number)}}) {
    const auto finished = Git(order.directory, command);
    if (finished.code != 0) return Fail(log, command.front(), finished);
  }
  const auto head = Git(order.directory, {"rev-parse", "HEAD"});
  if (head.code != 0) return Fail(log, "rev-parse", head);
  return log.Ack("g " + head.out.substr(0, head.out.find('\n')));
}

void Run(AckLog& log, const LoadOrder& order) {
  std::mt19937_64 random(order.seed);
  const auto made = Git(order.directory, {"init", "-q"});
  if (made.code != 0) {
    Fail(log, "init", made);
    return;
  }
  for (uint64_t number = 0; !log.over() && Commit(log, order, number, random); ++number) {
  }
}

std::string Check(const LogLines& lines, const std::string& directory, const LoadOrder&,
                  Kept kept) {
  std::string last;
  for (const auto& words : lines) {
    if (words[0] == "g") last = words.at(1);
  }
  // git does not sync all that it says is there.
  if (last.empty() || kept == Kept::kSynced) return "";
  for (const e2e::Arguments& command :
       {e2e::Arguments{"fsck", "--full", "--strict"},
        e2e::Arguments{"merge-base", "--is-ancestor", last, "HEAD"}}) {
    const auto finished = Git(directory, command);
    if (finished.code != 0)
      return command.front() + ", last commit " + last + ": " + finished.All();
  }
  return "";
}

}  // namespace

const LoadProgram kGitProgram{Run, Check};

}  // namespace airstore::fault
