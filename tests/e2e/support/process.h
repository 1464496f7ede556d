// SPDX-License-Identifier: Apache-2.0
//
// Programs that a test runs: to their end with what they printed, or in the background.
// Fails how: throws std::runtime_error, which ends the test with that message.
// Threads: any; nothing is shared between objects.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace airstore::e2e {

using Arguments = std::vector<std::string>;

struct RunOptions {
  std::string directory = {};                   // to start in; empty: ours
  std::string input = {};                       // on stdin
  std::map<std::string, std::string> env = {};  // over our own
  std::optional<uid_t> uid = {};                // and the same group, no others
  pid_t mount_namespace_of = 0;                 // enter that of this process
  std::string output_file = {};        // of background processes: stdout and stderr go there
  std::chrono::seconds patience{120};  // then it is killed
};

struct Finished {
  int code = 0;  // 128 + n when ended by signal n
  std::string out;
  std::string err;
  // For failure messages.
  std::string All() const;
};

Finished RunProgram(const Arguments& argv, const RunOptions& options = {});
// Throws when the program fails; returns what it printed on stdout.
std::string RunOk(const Arguments& argv, const RunOptions& options = {});

// A program in the background, killed with the object.
class Process {
 public:
  Process() = default;
  explicit Process(const Arguments& argv, const RunOptions& options = {});
  Process(Process&& other) noexcept { *this = std::move(other); }
  Process& operator=(Process&& other) noexcept;
  // One that is not our child: how it ends is not known.
  static Process Watching(pid_t pid);
  ~Process();

  pid_t pid() const { return pid_; }
  bool running();
  void Signal(int number) const;
  // Its exit code as in Finished; nothing when it runs on.
  std::optional<int> Wait(std::chrono::milliseconds patience);
  // Now, and without mercy.
  void Kill();

 private:
  bool Gone(int* status) const;

  pid_t pid_ = -1;
  bool child_ = true;
};

// Whether `done` became true in time; asked every few milliseconds.
template <typename Condition>
bool WaitUntil(std::chrono::milliseconds patience, const Condition& done);

std::chrono::steady_clock::time_point Now();
void Pause();

template <typename Condition>
bool WaitUntil(std::chrono::milliseconds patience, const Condition& done) {
  const auto deadline = Now() + patience;
  for (;;) {
    if (done()) return true;
    if (Now() >= deadline) return false;
    Pause();
  }
}

}  // namespace airstore::e2e
