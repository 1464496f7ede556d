// SPDX-License-Identifier: Apache-2.0
//
// The table of errors: of each call a file system serves, every error that its manual page knows,
// each with a way to come to it. A row says what must come out; ext4 is asked too, so a wrong row
// shows, and nothing else may have changed. What has no row must be accounted for by name.
//
// Left out everywhere: what a machine runs out of or fails with (EIO, ENOMEM, ENFILE). The errors
// that every path may lead to are in one table for all calls (errnos_paths_test.cc).
// Threads: the test's.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>

#include <map>
#include <set>
#include <string>
#include <type_traits>
#include <utility>

#include "tests/posix/calls.h"

namespace airstore::posix {

class Errnos : public Lockstep {
 protected:
  using Prepare = std::function<void()>;

  // A row, once as root and once as a user; each owns what `prepare` made.
  template <typename Act>
  void Both(const std::string& call, int error, const std::string& how, Prepare prepare, Act act,
            Prepare clean_up = {}) {
    for (const Caller& caller : {Root(), Owner()}) {
      For(
          caller, call, error, how,
          [prepare, caller] {
            prepare();
            GiveAllTo(caller);
          },
          act, clean_up);
    }
  }
  // A row for one caller; what `prepare` made is root's.
  template <typename Act>
  void For(const Caller& caller, const std::string& call, int error, const std::string& how,
           Prepare prepare, Act act, Prepare clean_up = {}) {
    rows_[call].insert(error);
    Case one{call + ": " + NameOf(error) + ", " + how, std::move(prepare), caller,
             [act]() -> Outcome {
               if constexpr (std::is_convertible_v<decltype(act()), Outcome> &&
                             !std::is_arithmetic_v<decltype(act())>) {
                 return act();
               } else {
                 return Result(act());
               }
             }};
    one.expected = error;
    one.files_differ = files_differ_;
    one.clean_up = std::move(clean_up);
    Add(std::move(one));
  }
  // Of the rows that follow; empty: they may not.
  void FilesMayDiffer(std::string why) { files_differ_ = std::move(why); }
  // What the manual page of `call` says, but for `elsewhere`: which test has it, or why nothing
  // can. The errors of paths are taken for known when it is among AtCalls.
  void Documented(const std::string& call, std::set<int> errors,
                  const std::map<int, std::string>& elsewhere = {});
  // Runs all rows, and checks that what is documented has one.
  void RunTable();

 private:
  static void GiveAllTo(const Caller& caller);

  std::string files_differ_;
  std::map<std::string, std::set<int>> rows_;
  std::map<std::string, std::set<int>> documented_;
};

// Each call that takes a path, by its name, relative to a directory where it can be.
struct AtCall {
  std::string name;
  std::function<Outcome(int dir, const char* path)> run;
  bool at = true;  // it can be
};
const std::vector<AtCall>& AtCalls();

// What `call` makes of a descriptor on `path`, opened with `flags`, which must work.
template <typename Call>
auto OnOpen(const char* path, int flags, Call call) {
  return [=]() -> Outcome {
    const UniqueFd fd(open(path, flags | O_CLOEXEC | O_NONBLOCK));
    if (!fd) return {ENOTRECOVERABLE};
    return {e2e::ErrnoOf(call(fd.get()))};
  };
}

// `call`, while the process may write no more than a page into a file.
template <typename Call>
auto Limited(Call call) {
  return [=](int fd) {
    signal(SIGXFSZ, SIG_IGN);
    rlimit before{};
    getrlimit(RLIMIT_FSIZE, &before);
    const rlimit limit{4096, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
    const auto result = call(fd);
    const int error = errno;
    setrlimit(RLIMIT_FSIZE, &before);
    errno = error;
    return result;
  };
}

constexpr int kNoDescriptor = 1000;

// For calls with an address that is none.
const char* Nowhere();
// What most rows begin with: "file" (0666), "dir" (0777) with "dir/inside", "link" to the file,
// "loop", "fifo", and "closed" (0700, root's) with "closed/inside".
void MakeUsual();

}  // namespace airstore::posix
