// SPDX-License-Identifier: Apache-2.0
//
// GatewayServices: what a gateway offers beside storage (tools, sources, tasks), in the broker's
// own types. One object belongs to one session and uses its connection and its token.
//
// Threads: every method is called and resumed on the event loop.
// Fails: as Gateway does, and ENOSYS: the gateway does not have this service or method; EREMOTEIO:
// it answered that it did not work, with its own words as the message.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "broker/service_settings.h"
#include "broker/task.h"
#include "shm/base/result.h"
#include "shm/base/wipe.h"

namespace airstore::broker {

struct ToolInfo {
  std::string name;
  std::string help;
  std::string local_command;  // a shell command of this host; empty: the tool runs at the gateway
};

// What a tool that runs has to say; `done` comes last and has nothing else but the end.
struct ToolOutput {
  enum class Stream { kOut, kErr };
  Stream stream = Stream::kOut;
  std::string data;
  bool done = false;
  int exit_code = 0;
  std::string error;  // of done: why it did not run, or not to its end
};

// A tool that runs at the gateway. Destroying it ends the run there.
class ToolRun {
 public:
  virtual ~ToolRun() = default;
  // The next piece, as soon as there is one. Pieces that are not asked for stay at the gateway. One
  // call at a time; it has returned when the run is destroyed.
  virtual Task<Result<ToolOutput>> Next() = 0;
  // The run ends, at the gateway too; Next() fails soon.
  virtual void Cancel() = 0;
};

struct SourceEntry {
  std::string name;
  uint32_t mode = 0;  // with type bits
  uint64_t size = 0;  // of a file, 0: not known
  int64_t mtime_ns = 0;
  std::string result_id;
};

struct TaskInfo {
  std::string id;
  std::string status;
  std::string prompt;
  std::string image;
  bool has_exit_code = false;
  int exit_code = 0;
  std::string error;
  // As the gateway writes them (RFC 3339), empty: not yet.
  std::string created_at;
  std::string started_at;
  std::string finished_at;
};

// How a source's content came about, as its gateway says.
struct SourceCost {
  std::string integration;
  std::string source_uri;
  std::string query_path;
  std::string result_id;
  std::string strategy;
  std::string outcome;
  int64_t original_bytes = 0;
  int64_t compressed_bytes = 0;
  int64_t original_tokens = 0;
  int64_t compressed_tokens = 0;
  int64_t compression_ms = 0;
};

// One read, as the gateway is told of it.
struct AccessEvent {
  std::string id;  // an event that comes twice is counted once
  int64_t time_ms = 0;
  std::string path;  // within the workspace, without a slash at the beginning
  std::string cache_source;
  uint64_t offset = 0;
  uint32_t requested = 0;
  uint32_t bytes = 0;
  int64_t latency_ms = 0;
  std::string error;
  std::string mount;
  std::string origin;  // "fuse", "nfs"
  SourceCost source;   // of what a source said
};

class GatewayServices {
 public:
  virtual ~GatewayServices() = default;

  virtual Task<Result<std::vector<ToolInfo>>> ListTools() = 0;
  virtual Task<Result<std::string>> ToolHelp(std::string name) = 0;
  virtual std::unique_ptr<ToolRun> RunTool(std::string name,
                                           std::vector<std::string> arguments) = 0;

  // Paths below the sources, without slashes at the ends; "" is all of them.
  virtual Task<Result<std::vector<SourceEntry>>> ListSource(std::string path) = 0;
  // ENOENT: there is none.
  virtual Task<Result<SourceEntry>> StatSource(std::string path) = 0;
  // Less than `length` bytes: that is the end.
  virtual Task<Result<std::string>> ReadSource(std::string path, uint64_t offset,
                                               uint64_t length) = 0;
  // What was said beside the bytes of that path when they were read last; none: nothing, or it is
  // forgotten.
  virtual const SourceCost* CostOf(const std::string& path) const {
    (void)path;
    return nullptr;
  }
  // Runs the view at that path and lists what it found.
  virtual Task<Result<std::vector<SourceEntry>>> ExecuteView(std::string path) = 0;
  // `extension` with its dot: a view that is one file; empty: a directory. The gateway may take
  // long over it.
  virtual Task<Result<void>> CreateView(std::string integration, std::string name,
                                        std::string extension) = 0;

  virtual Task<Result<std::vector<TaskInfo>>> ListTasks() = 0;
  // ENOENT: there is none.
  virtual Task<Result<TaskInfo>> GetTask(std::string id) = 0;
  // What it has said so far, line by line.
  virtual Task<Result<std::vector<std::string>>> TaskLogs(std::string id) = 0;

  // ENOSYS: the gateway does not want to know. EREMOTEIO: it did not take them.
  virtual Task<Result<void>> TellReads(std::vector<AccessEvent> reads) {
    (void)reads;
    co_return Error{ENOSYS, "access log"};
  }

  // Before anything is asked.
  virtual void Configure(const ServiceSettings& settings) = 0;
  virtual void SetToken(Secret token) = 0;
};

}  // namespace airstore::broker
