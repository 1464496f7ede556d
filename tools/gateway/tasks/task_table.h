// SPDX-License-Identifier: Apache-2.0
//
// Tasks: commands that clients have the gateway run, with their logs, on disk.
//
// A task whose process is gone with the gateway that ran it is failed; one that has outlived it is
// ended first, because nobody reads what it says. What had not begun yet begins again.
//
// Threads: any; one of its own for each task that runs.
// Ownership: owns DATA/tasks. The destructor ends what runs: failed, "the gateway was stopped".
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>

#include "tools/gateway/config.h"
#include "tools/gateway/tasks/task_record.h"
#include "tools/gateway/tools/process.h"

namespace airstore::gateway {

class TaskTable {
 public:
  static Result<std::unique_ptr<TaskTable>> Open(const std::string& directory, TaskConfig config);
  ~TaskTable();
  TaskTable(const TaskTable&) = delete;

  // EPERM: tasks are not enabled. EINVAL: nothing to run.
  Result<TaskRecord> Create(const std::string& workspace, const std::string& prompt,
                            std::vector<std::string> entrypoint,
                            std::map<std::string, std::string> environment);
  // Those of a workspace, oldest first.
  std::vector<TaskRecord> List(const std::string& workspace);
  bool AnyOf(const std::string& workspace);
  // ENOENT also for one of another workspace.
  Result<TaskRecord> Get(const std::string& workspace, const std::string& id);
  Result<std::vector<TaskLogLine>> Log(const std::string& workspace, const std::string& id);
  // Ends it when it runs, and forgets it.
  Result<void> Delete(const std::string& workspace, const std::string& id);
  void DeleteAll(const std::string& workspace);

 private:
  struct Slot {
    TaskRecord record;
    std::unique_ptr<Cancel> cancel;  // while it runs
    bool deleted = false;
  };
  TaskTable(std::string directory, TaskConfig config)
      : directory_(std::move(directory)), config_(std::move(config)) {}
  Result<void> Load();
  void StartSome();  // REQUIRES: mu_
  void Run(std::shared_ptr<Slot> slot);
  ProcessSpec SpecOf(const TaskRecord& task) const;
  void Keep(const TaskRecord& task);  // on disk; a failure is logged
  std::string DirectoryOf(const std::string& id) const { return directory_ + "/" + id; }

  const std::string directory_;
  const TaskConfig config_;
  std::mutex mu_;
  std::condition_variable ended_;
  // Guarded by mu_.
  std::map<std::string, std::shared_ptr<Slot>> tasks_;
  std::deque<std::shared_ptr<Slot>> waiting_;
  size_t running_ = 0;
  bool stopping_ = false;
};

}  // namespace airstore::gateway
