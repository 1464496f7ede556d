// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/tasks/task_table.h"

#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "broker/log_event.h"
#include "tools/gateway/auth.h"
#include "tools/gateway/clock.h"

namespace airstore::gateway {
namespace {

constexpr const char* kStopped = "the gateway was stopped while it ran";
// Records are kept in memory, and what runs is told the prompt in its environment.
constexpr size_t kMostTasks = 1000;  // of a workspace
constexpr size_t kMostTextBytes = 100 << 10;
constexpr const char* kLost = "the gateway ended while it ran";

// "task_" and as many characters as a token's id has.
std::string NewTaskId() { return "task_" + NewTokenId().substr(4); }

}  // namespace

Result<std::unique_ptr<TaskTable>> TaskTable::Open(const std::string& directory,
                                                   TaskConfig config) {
  std::unique_ptr<TaskTable> table(new TaskTable(directory, std::move(config)));
  AIRSTORE_TRY(table->Load());
  return table;
}

Result<void> TaskTable::Load() {
  if (mkdir(directory_.c_str(), 0700) != 0 && errno != EEXIST) return SysError(directory_);
  std::lock_guard lock(mu_);
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory_, error)) {
    auto task = ReadTask(entry.path());
    if (!task) {
      broker::LogEvent(spdlog::level::warn, {{"error", task.error().ToString()}}, "tasks: {}",
                       task.error().ToString());
      continue;
    }
    if (task->status == TaskStatus::kRunning) {
      if (task->pid > 0 && task->pid_started != 0 && StartOf(task->pid) == task->pid_started) {
        (void)kill(static_cast<pid_t>(-task->pid), SIGKILL);
      }
      task->status = TaskStatus::kFailed;
      task->error = kLost;
      task->finished_ns = WallClockNs();
      Keep(*task);
    }
    auto slot = std::make_shared<Slot>();
    slot->record = std::move(*task);
    tasks_[slot->record.id] = slot;
    if (slot->record.status == TaskStatus::kPending) waiting_.push_back(slot);
  }
  if (error) return SysError(directory_, error.value());
  std::sort(waiting_.begin(), waiting_.end(), [](const auto& a, const auto& b) {
    return a->record.created_ns < b->record.created_ns;
  });
  if (!config_.enabled) {
    for (const auto& slot : waiting_) {
      slot->record.status = TaskStatus::kFailed;
      slot->record.error = "tasks are not enabled any more";
      Keep(slot->record);
    }
    waiting_.clear();
  }
  StartSome();
  return {};
}

TaskTable::~TaskTable() {
  std::unique_lock lock(mu_);
  stopping_ = true;
  for (const auto& [id, slot] : tasks_) {
    if (slot->cancel) slot->cancel->Raise();
  }
  ended_.wait(lock, [this] { return running_ == 0; });
}

void TaskTable::Keep(const TaskRecord& task) {
  if (auto kept = WriteTask(DirectoryOf(task.id), task); !kept) {
    broker::LogEvent(
        spdlog::level::err,
        {{"workspace", task.workspace}, {"task", task.id}, {"error", kept.error().ToString()}},
        "task {}: {}", task.id, kept.error().ToString());
  }
}

ProcessSpec TaskTable::SpecOf(const TaskRecord& task) const {
  ProcessSpec spec;
  spec.command = task.entrypoint;
  if (spec.command.empty()) {
    spec.command = config_.shell;
    spec.command.push_back(task.prompt);
  }
  spec.directory = config_.directory;
  spec.environment = task.environment;
  spec.environment.try_emplace("AIRSTORE_TASK", task.id);
  spec.environment.try_emplace("AIRSTORE_PROMPT", task.prompt);
  return spec;
}

Result<TaskRecord> TaskTable::Create(const std::string& workspace, const std::string& prompt,
                                     std::vector<std::string> entrypoint,
                                     std::map<std::string, std::string> environment) {
  if (!config_.enabled) return Error{EPERM, "tasks are not enabled on this gateway"};
  if (entrypoint.empty() && prompt.empty()) return Error{EINVAL, "nothing to run"};
  size_t bytes = prompt.size();
  for (const std::string& argument : entrypoint) bytes += argument.size();
  for (const auto& [name, value] : environment) {
    bytes += name.size() + value.size();
    if (name.empty() || name.find('=') != std::string::npos) {
      return Error{EINVAL, "env: '" + name + "' cannot be the name of a variable"};
    }
  }
  if (bytes > kMostTextBytes) {
    return Error{E2BIG, "prompt, entrypoint and env are at most 100 KiB together"};
  }
  auto slot = std::make_shared<Slot>();
  TaskRecord& task = slot->record;
  task.id = NewTaskId();
  task.workspace = workspace;
  task.prompt = prompt;
  task.entrypoint = std::move(entrypoint);
  task.environment = std::move(environment);
  task.created_ns = WallClockNs();
  std::lock_guard lock(mu_);
  if (stopping_) return Error{EAGAIN, "the gateway is stopping"};
  const auto others = std::count_if(tasks_.begin(), tasks_.end(), [&](const auto& one) {
    return one.second->record.workspace == workspace;
  });
  if (static_cast<size_t>(others) >= kMostTasks) {
    return Error{ENOSPC, "a workspace has at most 1,000 tasks: delete some"};
  }
  if (mkdir(DirectoryOf(task.id).c_str(), 0700) != 0) return SysError("task " + task.id);
  AIRSTORE_TRY(WriteTask(DirectoryOf(task.id), task));
  tasks_[task.id] = slot;
  waiting_.push_back(slot);
  StartSome();
  return task;
}

void TaskTable::StartSome() {
  while (!stopping_ && !waiting_.empty() && running_ < config_.most_running) {
    std::shared_ptr<Slot> slot = std::move(waiting_.front());
    waiting_.pop_front();
    if (slot->deleted) continue;
    slot->cancel = std::make_unique<Cancel>();
    slot->record.status = TaskStatus::kRunning;
    slot->record.started_ns = WallClockNs();
    Keep(slot->record);
    ++running_;
    std::thread([this, slot] { Run(slot); }).detach();
  }
}

void TaskTable::Run(std::shared_ptr<Slot> slot) {
  TaskRecord task;
  {
    std::lock_guard lock(mu_);
    task = slot->record;
  }
  auto code = Result<int>(0);
  {
    TaskLog log(DirectoryOf(task.id) + "/log", config_.log_bytes);
    code = RunProcess(
        SpecOf(task),
        [&](Stream stream, std::string_view data) {
          log.Add(stream == Stream::kErr, data);
          return true;
        },
        *slot->cancel,
        [&](pid_t pid) {
          std::lock_guard lock(mu_);
          slot->record.pid = pid;
          slot->record.pid_started = StartOf(pid);
          Keep(slot->record);
        });
  }
  std::lock_guard lock(mu_);
  TaskRecord& record = slot->record;
  record.finished_ns = WallClockNs();
  record.pid = 0;
  if (code) {
    record.exit_code = *code;
    record.status = *code == 0 ? TaskStatus::kComplete : TaskStatus::kFailed;
  } else if (code.error().code == ECANCELED) {
    record.status = slot->deleted ? TaskStatus::kCancelled : TaskStatus::kFailed;
    record.error = slot->deleted ? "" : kStopped;
  } else {
    record.status = TaskStatus::kFailed;
    record.error = code.error().ToString();
  }
  slot->cancel.reset();
  if (slot->deleted) {
    std::error_code ignored;
    std::filesystem::remove_all(DirectoryOf(record.id), ignored);
  } else {
    Keep(record);
  }
  --running_;
  StartSome();
  ended_.notify_all();
}

bool TaskTable::AnyOf(const std::string& workspace) {
  std::lock_guard lock(mu_);
  return std::any_of(tasks_.begin(), tasks_.end(),
                     [&](const auto& task) { return task.second->record.workspace == workspace; });
}

std::vector<TaskRecord> TaskTable::List(const std::string& workspace) {
  std::vector<TaskRecord> tasks;
  {
    std::lock_guard lock(mu_);
    for (const auto& [id, slot] : tasks_) {
      if (slot->record.workspace == workspace) tasks.push_back(slot->record);
    }
  }
  std::sort(tasks.begin(), tasks.end(),
            [](const TaskRecord& a, const TaskRecord& b) { return a.created_ns < b.created_ns; });
  return tasks;
}

Result<TaskRecord> TaskTable::Get(const std::string& workspace, const std::string& id) {
  std::lock_guard lock(mu_);
  const auto found = tasks_.find(id);
  if (found == tasks_.end() || found->second->record.workspace != workspace) {
    return Error{ENOENT, "task not found"};
  }
  return found->second->record;
}

Result<std::vector<TaskLogLine>> TaskTable::Log(const std::string& workspace,
                                                const std::string& id) {
  auto task = Get(workspace, id);
  if (!task) return task.error();
  return ReadTaskLog(DirectoryOf(id) + "/log");
}

Result<void> TaskTable::Delete(const std::string& workspace, const std::string& id) {
  std::lock_guard lock(mu_);
  const auto found = tasks_.find(id);
  if (found == tasks_.end() || found->second->record.workspace != workspace) {
    return Error{ENOENT, "task not found"};
  }
  Slot& slot = *found->second;
  slot.deleted = true;
  if (slot.cancel) {
    slot.cancel->Raise();  // its thread removes the files
  } else {
    std::error_code error;
    std::filesystem::remove_all(DirectoryOf(id), error);
    if (error) return SysError("remove task " + id, error.value());
  }
  tasks_.erase(found);
  return {};
}

void TaskTable::DeleteAll(const std::string& workspace) {
  for (const TaskRecord& task : List(workspace)) {
    if (auto done = Delete(workspace, task.id); !done) {
      broker::LogEvent(
          spdlog::level::err,
          {{"workspace", workspace}, {"task", task.id}, {"error", done.error().ToString()}},
          "tasks: {}", done.error().ToString());
    }
  }
}

}  // namespace airstore::gateway
