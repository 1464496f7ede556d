// SPDX-License-Identifier: Apache-2.0
//
// Locker: a process of its own that opens, locks and closes files as it is told.
// Fails how: throws std::runtime_error when the process does not do what it is told.
// Threads: the test's. The process is killed with the object.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>

#include "shm/base/fd.h"

namespace airstore::e2e {

class Locker {
 public:
  enum class Kind { kProcess, kOpenFile, kFlock };  // fcntl, fcntl of open files (OFD), flock
  struct Range {
    int type = 0;  // F_RDLCK, F_WRLCK, F_UNLCK
    off_t start = 0;
    off_t length = 0;  // 0: to the end
  };

  Locker();
  ~Locker();
  Locker(Locker&& other) noexcept;
  Locker& operator=(Locker&&) = delete;

  pid_t pid() const { return pid_; }
  // Its descriptor of the file.
  int Open(const std::string& path, int flags);
  int Close(int fd);
  // 0 or an errno. A flock is of the whole file.
  int TryLock(int fd, Kind kind, const Range& range);
  // F_GETLK; nothing: it could be had. `pid`: of the holder.
  std::optional<Range> Test(int fd, Kind kind, const Range& range, pid_t* pid = nullptr);
  // Begins to wait for a lock; Result says how that ended, nothing when it has not.
  void StartLock(int fd, Kind kind, const Range& range);
  std::optional<int> Result(std::chrono::milliseconds patience);
  // A child that has the same open files and does nothing.
  pid_t Fork();
  // A signal that ends waiting, and nothing else.
  void Interrupt() const;
  void Kill();

 private:
  struct Command;
  struct Answer;
  void Send(const Command& command);
  std::optional<Answer> Receive(std::chrono::milliseconds patience);
  Answer Call(const Command& command);
  [[noreturn]] static void Run(int socket);

  pid_t pid_ = -1;
  UniqueFd socket_;
};

}  // namespace airstore::e2e
