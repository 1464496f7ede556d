// SPDX-License-Identifier: Apache-2.0
#include "broker/grpc_services.h"

#include <airstore/v1/gateway.grpc.pb.h>
#include <airstore/v1/sources.grpc.pb.h>
#include <airstore/v1/tools.grpc.pb.h>
#include <sys/stat.h>

#include <algorithm>
#include <unordered_map>

#include "broker/grpc_services_status.h"
#include "broker/grpc_status.h"
#include "broker/grpc_tool_run.h"
#include "broker/utf8_text.h"

namespace airstore::broker {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr uint64_t kMostRead = 8u << 20;  // of one call: messages are limited to 16 MiB
constexpr uint64_t kGreatestSize = (uint64_t{1} << 44) - 4096;
constexpr std::chrono::minutes kViewPatience{5};
constexpr size_t kLongestWords = 300;
constexpr std::chrono::seconds kTellPatience{5};
constexpr size_t kMostCosts = 8192;

int64_t TimeOf(int64_t seconds) {
  return seconds < 0 || seconds > INT64_MAX / kSecond ? 0 : seconds * kSecond;
}

uint64_t SizeOf(int64_t size) {
  return size < 0 || static_cast<uint64_t>(size) > kGreatestSize ? 0 : static_cast<uint64_t>(size);
}

uint32_t ModeOf(uint32_t mode, bool directory) {
  return (directory ? S_IFDIR : S_IFREG) | (mode & 07777);
}

template <typename Entries>
std::vector<SourceEntry> DecodeEntries(const Entries& wire) {
  std::vector<SourceEntry> entries;
  entries.reserve(static_cast<size_t>(wire.size()));
  for (const auto& from : wire) {
    SourceEntry entry;
    entry.name = from.name();
    entry.mode = ModeOf(from.mode(), from.is_dir());
    entry.size = SizeOf(from.size());
    entry.mtime_ns = TimeOf(from.mtime());
    entry.result_id = from.result_id();
    entries.push_back(std::move(entry));
  }
  return entries;
}

TaskInfo DecodeTask(const ::gateway::Task& from) {
  TaskInfo task;
  task.id = from.id();
  task.status = from.status();
  task.prompt = from.prompt();
  task.image = from.image();
  task.has_exit_code = from.has_exit_code();
  task.exit_code = from.exit_code();
  task.error = from.error();
  task.created_at = from.created_at();
  task.started_at = from.started_at();
  task.finished_at = from.finished_at();
  return task;
}

SourceCost DecodeCost(const ::sources::SourceReadCostHint& from) {
  SourceCost cost;
  cost.integration = from.integration();
  cost.source_uri = from.source_uri();
  cost.query_path = from.query_path();
  cost.result_id = from.result_id();
  cost.strategy = from.strategy();
  cost.outcome = from.outcome();
  cost.original_bytes = from.original_bytes();
  cost.compressed_bytes = from.compressed_bytes();
  cost.original_tokens = from.original_tokens();
  cost.compressed_tokens = from.compressed_tokens();
  cost.compression_ms = from.compression_ms();
  return cost;
}

class GrpcServices final : public GatewayServices {
 public:
  explicit GrpcServices(CallContext via)
      : via_(std::move(via)),
        tools_(via_.channel),
        sources_(via_.channel),
        gateway_(via_.channel),
        access_(via_.channel) {}

  void Configure(const ServiceSettings& settings) override {
    via_.metadata = AccessMetadata(settings);
    session_ = settings.access_session;
    compression_ = settings.compression == "off" ? "" : settings.compression;
  }
  void SetToken(Secret token) override { via_.token = std::move(token); }

  Task<Result<std::vector<ToolInfo>>> ListTools() override {
    return Call<::tools::ListToolsResponse>(
        "list tools", via_, tools_.Current(), ::tools::ListToolsRequest(),
        &::tools::ToolService::StubInterface::async_interface::ListTools,
        [](::tools::ListToolsResponse& answer) {
          std::vector<ToolInfo> tools;
          for (const ::tools::ToolInfo& tool : answer.tools()) {
            tools.push_back({tool.name(), tool.help(), tool.local_command()});
          }
          return Result<std::vector<ToolInfo>>(std::move(tools));
        });
  }

  Task<Result<std::string>> ToolHelp(std::string name) override {
    ::tools::GetToolHelpRequest request;
    request.set_name(std::move(name));
    return Call<::tools::GetToolHelpResponse>(
        "get help", via_, tools_.Current(), std::move(request),
        &::tools::ToolService::StubInterface::async_interface::GetToolHelp,
        [](::tools::GetToolHelpResponse& answer) {
          return Result<std::string>(std::move(*answer.mutable_help()));
        });
  }

  std::unique_ptr<ToolRun> RunTool(std::string name, std::vector<std::string> arguments) override {
    return StartToolRun(via_, tools_.Current(), std::move(name), std::move(arguments));
  }

  Task<Result<std::vector<SourceEntry>>> ListSource(std::string path) override {
    ::sources::SourceReadDirRequest request;
    request.set_path(std::move(path));
    return Call<::sources::SourceReadDirResponse>(
        "list source", OfSources(), sources_.Current(), std::move(request),
        &::sources::SourceService::StubInterface::async_interface::ReadDir,
        [](::sources::SourceReadDirResponse& answer) {
          return Result<std::vector<SourceEntry>>(DecodeEntries(answer.entries()));
        });
  }

  Task<Result<SourceEntry>> StatSource(std::string path) override {
    ::sources::SourceStatRequest request;
    request.set_path(std::move(path));
    return Call<::sources::SourceStatResponse>(
        "stat source", OfSources(), sources_.Current(), std::move(request),
        &::sources::SourceService::StubInterface::async_interface::Stat,
        [](::sources::SourceStatResponse& answer) -> Result<SourceEntry> {
          if (!answer.has_info()) return Error{EPROTO, "stat source: no attributes"};
          SourceEntry entry;
          entry.mode = ModeOf(answer.info().mode(), answer.info().is_dir());
          entry.size = SizeOf(answer.info().size());
          entry.mtime_ns = TimeOf(answer.info().mtime());
          return entry;
        });
  }

  Task<Result<std::string>> ReadSource(std::string path, uint64_t offset,
                                       uint64_t length) override {
    ::sources::SourceReadRequest request;
    request.set_path(std::move(path));
    request.set_offset(static_cast<int64_t>(offset));
    request.set_length(static_cast<int64_t>(std::min(length, kMostRead)));
    using Told = std::pair<std::string, std::optional<SourceCost>>;
    const std::string asked = request.path();
    auto read = co_await Call<::sources::SourceReadResponse>(
        "read source", OfSources(), sources_.Current(), std::move(request),
        &::sources::SourceService::StubInterface::async_interface::Read,
        [most =
             std::min(length, kMostRead)](::sources::SourceReadResponse& answer) -> Result<Told> {
          // Of one that pays no heed to the range it could not be said what this is.
          if (answer.data().size() > most) {
            return Error{EPROTO, "read source: more than was asked for"};
          }
          std::optional<SourceCost> cost;
          if (answer.has_cost_hint()) cost = DecodeCost(answer.cost_hint());
          return Told(std::move(*answer.mutable_data()), std::move(cost));
        });
    if (!read) co_return read.error();
    if (read->second) {
      if (costs_.size() >= kMostCosts) costs_.clear();
      costs_[asked] = std::move(*read->second);
    }
    co_return std::move(read->first);
  }

  const SourceCost* CostOf(const std::string& path) const override {
    const auto found = costs_.find(path);
    return found == costs_.end() ? nullptr : &found->second;
  }

  Task<Result<void>> TellReads(std::vector<AccessEvent> reads) override {
    ::gateway::IngestAccessEventsRequest request;
    for (AccessEvent& read : reads) Encode(std::move(read), request.add_events());
    CallContext via = via_;
    via.timeout = kTellPatience;
    return Call<::gateway::IngestAccessEventsResponse>(
        "tell of reads", std::move(via), access_.Current(), std::move(request),
        &::gateway::AccessLogService::StubInterface::async_interface::IngestAccessEvents,
        [](::gateway::IngestAccessEventsResponse&) { return Result<void>(); });
  }

  Task<Result<std::vector<SourceEntry>>> ExecuteView(std::string path) override {
    ::sources::ExecuteViewRequest request;
    request.set_path("/Sources/" + path);
    auto found = co_await Call<::sources::ExecuteViewResponse>(
        "execute view", OfSources(), sources_.Current(), request,
        &::sources::SourceService::StubInterface::async_interface::ExecuteView,
        [](::sources::ExecuteViewResponse& answer) {
          return Result<std::vector<SourceEntry>>(DecodeEntries(answer.entries()));
        });
    if (found || found.error().code != ENOSYS) co_return found;
    request.set_path("/sources/" + path);
    co_return co_await Call<::sources::ExecuteViewResponse>(
        "execute query", OfSources(), sources_.Current(), std::move(request),
        &::sources::SourceService::StubInterface::async_interface::ExecuteSmartQuery,
        [](::sources::ExecuteViewResponse& answer) {
          return Result<std::vector<SourceEntry>>(DecodeEntries(answer.entries()));
        });
  }

  Task<Result<void>> CreateView(std::string integration, std::string name,
                                std::string extension) override {
    ::sources::CreateViewRequest request;
    request.set_integration(std::move(integration));
    request.set_name(std::move(name));
    request.set_output_format(extension.empty() ? "folder" : "file");
    request.set_file_ext(std::move(extension));
    CallContext via = OfSources();
    via.timeout = kViewPatience;
    auto made = co_await Call<::sources::CreateViewResponse>(
        "create view", via, sources_.Current(), request,
        &::sources::SourceService::StubInterface::async_interface::CreateView,
        [](::sources::CreateViewResponse&) { return Result<void>(); });
    if (made || made.error().code != ENOSYS) co_return made;
    co_return co_await Call<::sources::CreateViewResponse>(
        "create query", via, sources_.Current(), std::move(request),
        &::sources::SourceService::StubInterface::async_interface::CreateSmartQuery,
        [](::sources::CreateViewResponse&) { return Result<void>(); });
  }

  Task<Result<std::vector<TaskInfo>>> ListTasks() override {
    return Call<::gateway::ListTasksResponse>(
        "list tasks", via_, gateway_.Current(), ::gateway::ListTasksRequest(),
        &::gateway::GatewayService::StubInterface::async_interface::ListTasks,
        [](::gateway::ListTasksResponse& answer) {
          std::vector<TaskInfo> tasks;
          for (const ::gateway::Task& task : answer.tasks()) tasks.push_back(DecodeTask(task));
          return Result<std::vector<TaskInfo>>(std::move(tasks));
        });
  }

  Task<Result<TaskInfo>> GetTask(std::string id) override {
    ::gateway::GetTaskRequest request;
    request.set_id(std::move(id));
    return Call<::gateway::TaskResponse>(
        "get task", via_, gateway_.Current(), std::move(request),
        &::gateway::GatewayService::StubInterface::async_interface::GetTask,
        [](::gateway::TaskResponse& answer) -> Result<TaskInfo> {
          if (!answer.has_task()) return Error{EPROTO, "get task: no task"};
          return DecodeTask(answer.task());
        });
  }

  Task<Result<std::vector<std::string>>> TaskLogs(std::string id) override {
    ::gateway::GetTaskLogsRequest request;
    request.set_id(std::move(id));
    return Call<::gateway::GetTaskLogsResponse>(
        "get task logs", via_, gateway_.Current(), std::move(request),
        &::gateway::GatewayService::StubInterface::async_interface::GetTaskLogs,
        [](::gateway::GetTaskLogsResponse& answer) {
          std::vector<std::string> lines;
          for (auto& entry : *answer.mutable_logs())
            lines.push_back(std::move(*entry.mutable_data()));
          return Result<std::vector<std::string>>(std::move(lines));
        });
  }

 private:
  void Encode(AccessEvent read, ::gateway::AccessLogEvent* out) const {
    out->set_event_id(std::move(read.id));
    out->set_ts(read.time_ms);
    out->set_session_id(session_);
    out->set_path(AsUtf8(read.path));
    out->set_cache_source(std::move(read.cache_source));
    out->set_offset(static_cast<int64_t>(read.offset));
    out->set_requested_bytes(static_cast<int32_t>(read.requested));
    out->set_read_bytes(static_cast<int32_t>(read.bytes));
    out->set_latency_ms(read.latency_ms);
    out->set_error_msg(std::move(read.error));
    out->set_mount_id(std::move(read.mount));
    out->set_access_origin(std::move(read.origin));
    SourceCost& source = read.source;
    out->set_integration(std::move(source.integration));
    out->set_source_uri(std::move(source.source_uri));
    out->set_query_path(std::move(source.query_path));
    out->set_result_id(std::move(source.result_id));
    out->set_strategy(std::move(source.strategy));
    out->set_outcome(std::move(source.outcome));
    out->set_original_bytes(source.original_bytes);
    out->set_compressed_bytes(source.compressed_bytes);
    out->set_original_tokens(source.original_tokens);
    out->set_compressed_tokens(source.compressed_tokens);
    out->set_compression_ms(source.compression_ms);
  }

  CallContext OfSources() const {
    CallContext via = via_;
    if (!compression_.empty()) via.metadata.emplace_back("x-airstore-compression", compression_);
    return via;
  }

  // `decode(response)` sees answers with ok = true only.
  template <typename Response, typename Stub, typename Request, typename Api, typename Decode>
  static Task<std::invoke_result_t<Decode, Response&>> Call(
      const char* name, CallContext via, std::shared_ptr<Stub> stub, Request request,
      void (Api::*method)(grpc::ClientContext*, const Request*, Response*,
                          std::function<void(grpc::Status)>),
      Decode decode) {
    using Answer = std::invoke_result_t<Decode, Response&>;
    auto start = [stub = std::move(stub), method](
                     grpc::ClientContext* context, const Request* from, Response* to,
                     std::function<void(const grpc::Status&)> on_done) {
      (stub->async()->*method)(context, from, to, std::move(on_done));
    };
    auto finish = [name, decode](const grpc::Status& status, Request&, Response& to) -> Answer {
      if (!status.ok()) return ServiceError(name, status);
      if (!to.ok()) return AnswerError(name, to.error());
      return decode(to);
    };
    return UnaryCall<Request, Response>(std::move(via), std::move(request), std::move(start),
                                        std::move(finish));
  }

  CallContext via_;
  std::string compression_;
  std::string session_;
  std::unordered_map<std::string, SourceCost> costs_;  // by path
  const Stubs<::tools::ToolService> tools_;
  const Stubs<::sources::SourceService> sources_;
  const Stubs<::gateway::GatewayService> gateway_;
  const Stubs<::gateway::AccessLogService> access_;
};

}  // namespace

Error ServiceError(const char* call, const grpc::Status& status) {
  Error error = ErrorOfStatus(call, status);
  if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED) error.code = ENOSYS;
  return error;
}

Error AnswerError(const char* call, const std::string& words) {
  std::string said;
  for (const char c : words.substr(0, kLongestWords)) {
    said += static_cast<unsigned char>(c) < ' ' || c == 0x7f ? ' ' : c;
  }
  const bool missing = said.find("not found") != std::string::npos;
  return Error{missing ? ENOENT : EREMOTEIO, std::string(call) + ": " + said};
}

std::vector<std::pair<std::string, std::string>> AccessMetadata(const ServiceSettings& settings) {
  if (!settings.access_log) return {};
  return {{"x-airstore-session", settings.access_session}, {"x-airstore-access-origin", "fuse"}};
}

std::shared_ptr<GatewayServices> MakeGrpcServices(CallContext via) {
  return std::make_shared<GrpcServices>(std::move(via));
}

}  // namespace airstore::broker
