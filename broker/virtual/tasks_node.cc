// SPDX-License-Identifier: Apache-2.0
#include "broker/virtual/tasks_node.h"

#include <sys/stat.h>
#include <time.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <map>

#include "broker/names.h"

namespace airstore::broker {
namespace {

constexpr char kSuffix[] = ".task";
constexpr std::chrono::seconds kLifetime{5};
constexpr std::chrono::seconds kRunningLifetime{1};

bool IsOver(const std::string& status) {
  return status == "complete" || status == "failed" || status == "cancelled";
}

uint64_t Hash(const std::string& text) { return XXH3_64bits(text.data(), text.size()) | 1; }

class TasksNode final : public VirtualNode {
 public:
  explicit TasksNode(std::shared_ptr<GatewayServices> services) : services_(std::move(services)) {}

  Kind kind() const override { return Kind::kReadOnly; }

  bool IsOffered(const OfferedServices& offered) const override { return offered.tasks; }
  Task<Result<bool>> HasSomething() override {
    auto tasks = co_await services_->ListTasks();
    if (!tasks) co_return tasks.error();
    co_return !tasks->empty();
  }

  Task<Result<std::vector<VirtualEntry>>> List(std::string path) override {
    if (!path.empty()) co_return Error{ENOTDIR, path};
    auto tasks = co_await services_->ListTasks();
    if (!tasks) co_return tasks.error();
    std::vector<VirtualEntry> entries;
    for (const TaskInfo& task : *tasks) {
      VirtualEntry entry = Named(task);
      entry.name_only = true;  // what it says is asked for when somebody wants to know
      entry.version = Hash(task.status + task.finished_at);
      entries.push_back(std::move(entry));
    }
    co_return entries;
  }

  Task<Result<VirtualEntry>> Stat(std::string path) override {
    if (!path.ends_with(kSuffix) || path.find('/') != std::string::npos) {
      co_return Error{ENOENT, path};
    }
    const std::string id = path.substr(0, path.size() - (sizeof kSuffix - 1));
    auto task = co_await services_->GetTask(id);
    if (!task) co_return task.error();
    auto logs = co_await services_->TaskLogs(id);
    if (!logs && logs.error().code != ENOSYS) co_return logs.error();
    VirtualEntry entry = Named(*task);
    entry.content = TaskText(*task, logs ? *logs : std::vector<std::string>());
    entry.size = entry.content->size();
    entry.version = Hash(*entry.content);
    over_[entry.name] = IsOver(task->status);
    co_return entry;
  }

  Task<Result<std::string>> Read(std::string path, uint64_t, uint64_t) override {
    co_return Error{ENOENT, path};  // its content comes with its attributes
  }

  std::chrono::milliseconds Lifetime(const std::string& path, const VirtualEntry&) override {
    if (path.empty()) return kLifetime;
    const auto known = over_.find(path);
    return known != over_.end() && known->second ? std::chrono::seconds(0) : kRunningLifetime;
  }

 private:
  static VirtualEntry Named(const TaskInfo& task) {
    VirtualEntry entry;
    entry.name = task.id + kSuffix;
    entry.mode = S_IFREG | 0644;
    entry.mtime_ns = ParseTime(task.created_at);
    return entry;
  }

  const std::shared_ptr<GatewayServices> services_;
  std::map<std::string, bool> over_;  // by name: nothing more will come
};

}  // namespace

std::string TaskText(const TaskInfo& task, const std::vector<std::string>& logs) {
  std::string text = "Task: " + task.id + "\nStatus: " + task.status + "\n";
  const auto line = [&text](const char* name, const std::string& value) {
    if (!value.empty()) text += std::string(name) + ": " + value + "\n";
  };
  line("Prompt", task.prompt);
  text += "Created: " + task.created_at + "\n";
  line("Started", task.started_at);
  line("Finished", task.finished_at);
  if (task.has_exit_code) line("Exit Code", std::to_string(task.exit_code));
  line("Error", task.error);
  text += "\n--- Output ---\n";
  for (const std::string& entry : logs) text += entry + "\n";
  return text;
}

int64_t ParseTime(const std::string& text) {
  tm parts{};
  char* rest = strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (rest == nullptr) return 0;
  int64_t nanoseconds = 0;
  if (*rest == '.') {
    int64_t unit = 100'000'000;
    for (++rest; *rest >= '0' && *rest <= '9'; ++rest, unit /= 10)
      nanoseconds += unit * (*rest - '0');
  }
  int64_t offset = 0;
  if (*rest == '+' || *rest == '-') {
    int hours = 0;
    int minutes = 0;
    if (sscanf(rest + 1, "%2d:%2d", &hours, &minutes) != 2) return 0;
    offset = (hours * 60 + minutes) * (*rest == '-' ? -60 : 60);
  }
  return (int64_t{timegm(&parts)} - offset) * 1'000'000'000 + nanoseconds;
}

std::shared_ptr<VirtualNode> MakeTasksNode(std::shared_ptr<GatewayServices> services) {
  return std::make_shared<TasksNode>(std::move(services));
}

}  // namespace airstore::broker
