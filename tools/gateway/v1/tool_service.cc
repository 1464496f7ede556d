// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/v1/tool_service.h"

#include <algorithm>
#include <thread>

#include "tools/gateway/v1/paths.h"

namespace airstore::gateway::v1 {
namespace {

using Response = ::tools::ExecuteToolResponse;

constexpr size_t kChunkBytes = 256 << 10;

Response Done(int exit_code, std::string error) {
  Response done;
  done.set_done(true);
  done.set_exit_code(exit_code);
  done.set_error(std::move(error));
  return done;
}

std::string Clean(std::string text) {
  if (IsUtf8(text)) return text;
  for (char& c : text) {
    if (static_cast<unsigned char>(c) >= 0x80) c = '?';
  }
  return text;
}

// The name of the caller's workspace; that of the admin may be none.
Result<std::string> WorkspaceName(Gateway& gateway, const std::optional<Caller>& caller) {
  if (caller && caller->admin) return std::string();
  auto workspace = WorkspaceOf(gateway, caller);
  if (!workspace) return workspace.error();
  return workspace->name;
}

}  // namespace

// One run. gRPC calls back at its beginning and end and after each write; the thread does the rest.
class ToolService::Run final : public grpc::ServerWriteReactor<Response> {
 public:
  Run(ToolService& service, Context* context, const ::tools::ExecuteToolRequest* request)
      : service_(service), context_(context), request_(*request) {}

  void Start() {
    if (!service_.Enter(&cancel_)) {
      entered_ = false;
      response_ = Done(1, "the gateway runs too many tools, or is stopping: try again");
      StartWriteAndFinish(&response_, grpc::WriteOptions(), grpc::Status::OK);
      return;
    }
    std::thread([this] { Work(); }).detach();
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard lock(mu_);
    writing_ = false;
    broken_ = broken_ || !ok;
    // Under the lock: the waiting thread may end this object's use as soon as it can.
    written_.notify_all();
  }
  void OnCancel() override { cancel_.Raise(); }
  void OnDone() override {
    if (entered_) service_.Leave(&cancel_);
    delete this;
  }

 private:
  void Work() {
    std::optional<Caller> caller;
    if (auto status = Identify(service_.gateway_, *context_, &caller); !status.ok()) {
      Finish(status);
      return;
    }
    const auto workspace = WorkspaceName(service_.gateway_, caller);
    if (!workspace && IsOfStore(workspace.error())) {
      Finish(StoreStatus("v1", Told(workspace.error())));
      return;
    }
    const ToolEnd end =
        workspace ? Execute(*caller, *workspace) : ToolEnd{1, TextOf(workspace.error())};
    (void)Write(Done(end.exit_code, Clean(end.error)));
    Finish(grpc::Status::OK);
  }

  ToolEnd Execute(const Caller& caller, const std::string& workspace) {
    Tool* tool = service_.tools_.Find(request_.name(), workspace);
    if (tool == nullptr) return {1, "tool not found"};
    if (caller.read_only && !tool->for_read_only()) {
      context_->AddTrailingMetadata("x-airstore-errno", std::to_string(EROFS));
      return {126, "the token is read-only, and " + tool->name() + " may change something"};
    }
    ToolRun run;
    run.arguments.assign(request_.args().begin(), request_.args().end());
    run.workspace = workspace;
    run.cancel = &cancel_;
    run.output = [this](Stream stream, std::string_view data) {
      while (!data.empty()) {
        Response chunk;
        chunk.set_stream(stream == Stream::kOut ? Response::STDOUT : Response::STDERR);
        chunk.set_data(std::string(data.substr(0, kChunkBytes)));
        data.remove_prefix(std::min(data.size(), kChunkBytes));
        if (!Write(std::move(chunk))) return false;
      }
      return true;
    };
    return tool->Run(run);
  }

  // Returns when gRPC has taken it.
  bool Write(Response response) {
    std::unique_lock lock(mu_);
    if (broken_) return false;
    response_ = std::move(response);
    writing_ = true;
    lock.unlock();
    StartWrite(&response_);
    lock.lock();
    written_.wait(lock, [this] { return !writing_; });
    return !broken_;
  }

  ToolService& service_;
  Context* const context_;
  const ::tools::ExecuteToolRequest request_;
  bool entered_ = true;
  Cancel cancel_;
  Response response_;
  std::mutex mu_;
  std::condition_variable written_;
  // Guarded by mu_.
  bool writing_ = false;
  bool broken_ = false;
};

class ToolService::HelpCall final : public grpc::ServerUnaryReactor {
 public:
  HelpCall(ToolService& service, Context* context, const ::tools::GetToolHelpRequest* request,
           ::tools::GetToolHelpResponse* response)
      : service_(service), context_(context), request_(*request), response_(response) {}

  void Start() {
    if (!service_.Enter(&cancel_)) {
      entered_ = false;
      Fail(context_, response_, Error{EAGAIN, "the gateway runs too many tools, or is stopping"});
      Finish(grpc::Status::OK);
      return;
    }
    std::thread([this] { Finish(Work()); }).detach();
  }

  void OnCancel() override { cancel_.Raise(); }
  void OnDone() override {
    if (entered_) service_.Leave(&cancel_);
    delete this;
  }

 private:
  grpc::Status Work() {
    std::optional<Caller> caller;
    if (auto status = Identify(service_.gateway_, *context_, &caller); !status.ok()) return status;
    auto help = Help(caller);
    if (help) {
      response_->set_help(Clean(std::move(*help)));
      response_->set_ok(true);
    } else if (IsOfStore(help.error())) {
      return StoreStatus("v1", Told(help.error()));
    } else {
      Fail(context_, response_, help.error());
    }
    return grpc::Status::OK;
  }

  Result<std::string> Help(const std::optional<Caller>& caller) {
    auto workspace = WorkspaceName(service_.gateway_, caller);
    if (!workspace) return workspace.error();
    Tool* tool = service_.tools_.Find(request_.name(), *workspace);
    if (tool == nullptr) return Error{ENOENT, "tool not found"};
    return tool->Help(cancel_);
  }

  ToolService& service_;
  Context* const context_;
  const ::tools::GetToolHelpRequest request_;
  ::tools::GetToolHelpResponse* const response_;
  bool entered_ = true;
  Cancel cancel_;
};

bool ToolService::Enter(Cancel* run) {
  std::lock_guard lock(mu_);
  if (stopping_ || runs_.size() >= kMostRuns) return false;
  runs_.insert(run);
  return true;
}

void ToolService::Leave(Cancel* run) {
  std::lock_guard lock(mu_);
  runs_.erase(run);
  left_.notify_all();
}

void ToolService::Stop() {
  std::lock_guard lock(mu_);
  stopping_ = true;
  for (Cancel* run : runs_) run->Raise();
}

ToolService::~ToolService() {
  Stop();
  std::unique_lock lock(mu_);
  left_.wait(lock, [this] { return runs_.empty(); });
}

grpc::ServerWriteReactor<Response>* ToolService::ExecuteTool(
    Context* context, const ::tools::ExecuteToolRequest* request) {
  Run* run = new Run(*this, context, request);
  run->Start();
  return run;
}

Reactor* ToolService::ListTools(Context* context, const ::tools::ListToolsRequest*,
                                ::tools::ListToolsResponse* response) {
  return Serve(gateway_, pool_, context, response,
               [=, this](const std::optional<Caller>& caller) -> Result<void> {
                 auto workspace = WorkspaceName(gateway_, caller);
                 if (!workspace) return workspace.error();
                 for (Tool* tool : tools_.List(*workspace)) {
                   ::tools::ToolInfo* info = response->add_tools();
                   info->set_name(tool->name());
                   info->set_help(Clean(tool->summary()));
                 }
                 return {};
               });
}

grpc::ServerUnaryReactor* ToolService::GetToolHelp(Context* context,
                                                   const ::tools::GetToolHelpRequest* request,
                                                   ::tools::GetToolHelpResponse* response) {
  HelpCall* call = new HelpCall(*this, context, request, response);
  call->Start();
  return call;
}

}  // namespace airstore::gateway::v1
