// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/tasks/task_record.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tools/gateway/clock.h"

namespace airstore::gateway {
namespace {

using nlohmann::json;

constexpr const char* kNames[] = {"pending", "running", "complete", "failed", "cancelled"};
constexpr size_t kMaxLine = 16 << 10;

std::string Dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::optional<std::string> Slurp(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file) return std::nullopt;
  text << file.rdbuf();
  return text.str();
}

template <typename T>
bool Take(const json& object, const char* key, T* value) {
  const auto found = object.find(key);
  if (found == object.end()) return true;
  if constexpr (std::is_same_v<T, std::string>) {
    if (!found->is_string()) return false;
    *value = found->get<std::string>();
  } else {
    if (!found->is_number_integer()) return false;
    *value = found->get<T>();
  }
  return true;
}

bool TakeAll(const json& object, TaskRecord* task) {
  std::string status;
  if (!object.is_object() || !Take(object, "id", &task->id) ||
      !Take(object, "workspace", &task->workspace) || !Take(object, "status", &status) ||
      !Take(object, "prompt", &task->prompt) || !Take(object, "error", &task->error) ||
      !Take(object, "created_ns", &task->created_ns) ||
      !Take(object, "started_ns", &task->started_ns) ||
      !Take(object, "finished_ns", &task->finished_ns) || !Take(object, "pid", &task->pid) ||
      !Take(object, "pid_started", &task->pid_started)) {
    return false;
  }
  const auto name = std::find(std::begin(kNames), std::end(kNames), status);
  if (name == std::end(kNames)) return false;
  task->status = static_cast<TaskStatus>(name - std::begin(kNames));
  if (object.contains("exit_code")) {
    int code = 0;
    if (!Take(object, "exit_code", &code)) return false;
    task->exit_code = code;
  }
  for (const json& word : object.value("entrypoint", json::array())) {
    if (!word.is_string()) return false;
    task->entrypoint.push_back(word.get<std::string>());
  }
  const json environment = object.value("environment", json::object());
  for (const auto& [key, value] : environment.items()) {
    if (!value.is_string()) return false;
    task->environment[key] = value.get<std::string>();
  }
  return true;
}

}  // namespace

const char* NameOf(TaskStatus status) { return kNames[static_cast<int>(status)]; }

Result<void> WriteTask(const std::string& directory, const TaskRecord& task) {
  json object = {{"id", task.id},
                 {"workspace", task.workspace},
                 {"status", NameOf(task.status)},
                 {"prompt", task.prompt},
                 {"entrypoint", task.entrypoint},
                 {"environment", task.environment},
                 {"error", task.error},
                 {"created_ns", task.created_ns},
                 {"started_ns", task.started_ns},
                 {"finished_ns", task.finished_ns},
                 {"pid", task.pid},
                 {"pid_started", task.pid_started}};
  if (task.exit_code) object["exit_code"] = *task.exit_code;
  const std::string text = Dump(object) + "\n";
  const std::string path = directory + "/task.json";
  const std::string temp = path + ".tmp";
  UniqueFd fd(open(temp.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd || write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      fsync(fd.get()) != 0 || rename(temp.c_str(), path.c_str()) != 0) {
    return SysError("write " + path);
  }
  return {};
}

Result<TaskRecord> ReadTask(const std::string& directory) {
  const auto text = Slurp(directory + "/task.json");
  if (!text) return SysError("read " + directory + "/task.json", ENOENT);
  TaskRecord task;
  if (!TakeAll(json::parse(*text, nullptr, false), &task)) {
    return Error{EINVAL, directory + "/task.json is damaged"};
  }
  return task;
}

uint64_t StartOf(int64_t pid) {
  const auto stat = Slurp("/proc/" + std::to_string(pid) + "/stat");
  if (!stat) return 0;
  // The name, in brackets, may hold anything.
  std::istringstream rest(stat->substr(std::min(stat->rfind(')'), stat->size() - 1) + 1));
  std::string field;
  constexpr int kStartField = 20;  // of what follows the name
  for (int i = 0; i < kStartField; ++i) rest >> field;
  return strtoull(field.c_str(), nullptr, 10);
}

TaskLog::TaskLog(const std::string& path, uint64_t most_bytes)
    : fd_(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)),
      most_bytes_(most_bytes) {}

TaskLog::~TaskLog() { Close(); }

void TaskLog::Put(bool is_error, std::string_view line) {
  const std::string text =
      Dump({WallClockNs() / 1'000'000'000, is_error ? 1 : 0, std::string(line)}) + "\n";
  if (bytes_ + text.size() > most_bytes_ ||
      write(fd_.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    dropped_ += line.size() + 1;
    return;
  }
  bytes_ += text.size();
}

void TaskLog::Add(bool is_error, std::string_view data) {
  std::string& partial = partial_[is_error ? 1 : 0];
  while (!data.empty()) {
    const size_t end = data.find('\n');
    partial.append(data.substr(0, end));
    data.remove_prefix(end == std::string_view::npos ? data.size() : end + 1);
    if (end == std::string_view::npos && partial.size() < kMaxLine) break;
    Put(is_error, partial);
    partial.clear();
  }
}

void TaskLog::Close() {
  for (const bool is_error : {false, true}) {
    std::string& partial = partial_[is_error ? 1 : 0];
    if (!partial.empty()) Put(is_error, partial);
    partial.clear();
  }
  if (dropped_ == 0) return;
  const std::string text = Dump({WallClockNs() / 1'000'000'000, 1,
                                 "[" + std::to_string(dropped_) + " more bytes were not kept]"}) +
                           "\n";
  (void)!write(fd_.get(), text.data(), text.size());
  dropped_ = 0;
}

Result<std::vector<TaskLogLine>> ReadTaskLog(const std::string& path) {
  std::vector<TaskLogLine> lines;
  std::ifstream file(path, std::ios::binary);
  if (!file) return lines;  // it has said nothing
  std::string text;
  while (std::getline(file, text)) {
    const json line = json::parse(text, nullptr, false);
    // The last one may be half written.
    if (!line.is_array() || line.size() != 3 || !line[0].is_number_integer() ||
        !line[1].is_number_integer() || !line[2].is_string()) {
      continue;
    }
    lines.push_back({line[0].get<int64_t>(), line[1] == 1, line[2].get<std::string>()});
  }
  return lines;
}

}  // namespace airstore::gateway
