// SPDX-License-Identifier: Apache-2.0
//
// A task as it is kept: DATA/tasks/ID/task.json and DATA/tasks/ID/log.
//
// Threads: plain values and functions of files that one thread at a time touches.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shm/base/fd.h"
#include "shm/base/result.h"

namespace airstore::gateway {

enum class TaskStatus { kPending, kRunning, kComplete, kFailed, kCancelled };
const char* NameOf(TaskStatus status);
inline bool HasEnded(TaskStatus status) { return status >= TaskStatus::kComplete; }

struct TaskRecord {
  std::string id;
  std::string workspace;  // id
  TaskStatus status = TaskStatus::kPending;
  std::string prompt;
  std::vector<std::string> entrypoint;
  std::map<std::string, std::string> environment;
  std::optional<int> exit_code;
  std::string error;
  int64_t created_ns = 0, started_ns = 0, finished_ns = 0;  // 0: not yet
  // Who runs it: a number alone may be another process after a restart.
  int64_t pid = 0;
  uint64_t pid_started = 0;  // in ticks since the boot
};

// Replaces the file as a whole, synced.
Result<void> WriteTask(const std::string& directory, const TaskRecord& task);
Result<TaskRecord> ReadTask(const std::string& directory);

// When a process began, in ticks since the boot; 0: there is none.
uint64_t StartOf(int64_t pid);

struct TaskLogLine {
  int64_t seconds = 0;
  bool is_error = false;
  std::string text;  // UTF-8, without the newline
};

// Takes output as it comes and keeps lines; the text is made UTF-8.
class TaskLog {
 public:
  TaskLog(const std::string& path, uint64_t most_bytes);
  ~TaskLog();
  void Add(bool is_error, std::string_view data);
  // What has no newline yet, and how much was dropped.
  void Close();

 private:
  void Put(bool is_error, std::string_view line);

  UniqueFd fd_;
  const uint64_t most_bytes_;
  uint64_t bytes_ = 0;
  uint64_t dropped_ = 0;
  std::string partial_[2];  // of each stream
};

Result<std::vector<TaskLogLine>> ReadTaskLog(const std::string& path);

}  // namespace airstore::gateway
