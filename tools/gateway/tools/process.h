// SPDX-License-Identifier: Apache-2.0
//
// A child process in a group of its own, with pipes: what tools, tasks and MCP servers run in.
//
// Threads: a Process is used by one thread, but for Cancel, which any may raise, and signals.
// Ownership: the destructor kills what is left of the group and reaps the child.
// Fails: Start() with the errno of the program that could not be started.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "shm/base/fd.h"
#include "shm/base/result.h"

namespace airstore::gateway {

// Raised once, from any thread; can be waited for with poll().
class Cancel {
 public:
  Cancel();
  void Raise();
  bool raised() const;
  int fd() const { return event_.get(); }  // readable once raised

 private:
  UniqueFd event_;
};

struct ProcessSpec {
  std::vector<std::string> command;  // found in PATH when it has no slash
  std::string directory;             // empty: that of the gateway
  // Besides what the gateway has, but for its own settings (AIRSTORE_*) and keys (AWS_*).
  std::map<std::string, std::string> environment;
  bool with_stdin = false;  // a socket; else /dev/null
};

class Process {
 public:
  static Result<Process> Start(const ProcessSpec& spec);
  Process(Process&& other) noexcept
      : pid_(std::exchange(other.pid_, -1)),
        pidfd_(std::move(other.pidfd_)),
        in_(std::move(other.in_)),
        out_(std::move(other.out_)),
        err_(std::move(other.err_)),
        reaped_(other.reaped_) {}  // nobody else knows it yet
  Process& operator=(Process&&) = delete;
  ~Process();

  pid_t pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }
  UniqueFd& in() { return in_; }
  UniqueFd& out() { return out_; }
  UniqueFd& err() { return err_; }

  // Nothing once it is reaped: then the number may be another's. Any thread.
  void SignalGroup(int signal) const;
  // Waits for the child: its exit code, or 128 and the signal's number.
  int Reap();

 private:
  Process() = default;

  pid_t pid_ = -1;
  UniqueFd pidfd_, in_, out_, err_;
  mutable std::mutex signal_mu_;
  bool reaped_ = false;  // guarded by signal_mu_
};

// Runs to the end, hands over output as it comes, and answers the exit code. `output` may block;
// false from it, or a raised `cancel`, ends the group: SIGTERM, and SIGKILL two seconds later. What
// the child has left running in its group ends with it. ECANCELED: it was cancelled; ETIMEDOUT: it
// was ended because it ran for longer than `limit`.
enum class Stream { kOut, kErr };
using Output = std::function<bool(Stream stream, std::string_view data)>;
// `begun` is told the pid.
Result<int> RunProcess(const ProcessSpec& spec, const Output& output, const Cancel& cancel,
                       const std::function<void(pid_t)>& begun = {},
                       std::optional<std::chrono::milliseconds> limit = {});

}  // namespace airstore::gateway
