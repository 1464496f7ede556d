// SPDX-License-Identifier: Apache-2.0
#include "broker/grpc_tool_run.h"

#include <mutex>
#include <optional>

#include "broker/grpc_services_status.h"

namespace airstore::broker {
namespace {

// What the loop and gRPC's threads share.
struct Shared {
  explicit Shared(const boost::asio::any_io_executor& executor) : loop(executor), news(executor) {}

  const boost::asio::any_io_executor loop;
  Event news;  // the loop's only

  std::mutex mutex;
  // Guarded by mutex.
  std::optional<ToolOutput> output;
  std::optional<Error> ended;
  bool reading = false;
  grpc::ClientContext* context = nullptr;
  std::function<void()> read_on;  // none: no read can be started any more
};

// gRPC's side of the call; deletes itself when the call is over.
class RunCall final : public grpc::ClientReadReactor<::tools::ExecuteToolResponse> {
 public:
  RunCall(CallContext via, std::shared_ptr<::tools::ToolService::Stub> stub,
          std::shared_ptr<Shared> shared)
      : via_(std::move(via)), stub_(std::move(stub)), shared_(std::move(shared)) {}

  void Start(std::string name, std::vector<std::string> arguments) {
    request_.set_name(std::move(name));
    for (std::string& argument : arguments) request_.add_args(std::move(argument));
    context_->AddMetadata("authorization", "Bearer " + via_.token);
    for (const auto& [key, value] : via_.metadata) context_->AddMetadata(key, value);
    shared_->context = context_.get();
    shared_->read_on = [this] { StartRead(&message_); };
    shared_->reading = true;
    via_.channel->Enter(context_.get());
    stub_->async()->ExecuteTool(context_.get(), &request_, this);
    // Reads are started from the loop, whenever somebody wants more.
    AddHold();
    StartRead(&message_);
    StartCall();
  }

  void OnReadDone(bool ok) override {
    {
      const std::lock_guard lock(shared_->mutex);
      shared_->reading = false;
      if (ok) {
        ToolOutput output;
        output.stream = message_.stream() == ::tools::ExecuteToolResponse::STDERR
                            ? ToolOutput::Stream::kErr
                            : ToolOutput::Stream::kOut;
        output.data = std::move(*message_.mutable_data());
        output.done = message_.done();
        output.exit_code = message_.exit_code();
        output.error = message_.error();
        shared_->output = std::move(output);
      } else {
        shared_->read_on = nullptr;
      }
    }
    if (!ok) RemoveHold();
    Tell();
  }

  void OnDone(const grpc::Status& status) override {
    {
      const std::lock_guard lock(shared_->mutex);
      shared_->context = nullptr;
      shared_->read_on = nullptr;
      shared_->ended = status.ok() ? Error{EREMOTEIO, "the gateway did not say how it ended"}
                                   : ServiceError("run", status);
    }
    Tell();
    // As in UnaryCall: the context goes before the channel may, and the rest on the loop.
    GatewayChannel* channel = via_.channel.get();
    channel->Forget(context_.get(), status);
    context_.reset();
    boost::asio::post(via_.loop, [shared = std::move(shared_)] {});
    stub_.reset();
    delete this;
    channel->Leave();
  }

 private:
  ~RunCall() override = default;

  void Tell() {
    boost::asio::post(via_.loop, [shared = shared_] { shared->news.NotifyAll(); });
  }

  CallContext via_;
  std::shared_ptr<::tools::ToolService::Stub> stub_;
  std::shared_ptr<Shared> shared_;
  std::unique_ptr<grpc::ClientContext> context_ = std::make_unique<grpc::ClientContext>();
  ::tools::ExecuteToolRequest request_;
  ::tools::ExecuteToolResponse message_;
};

class GrpcToolRun final : public ToolRun {
 public:
  explicit GrpcToolRun(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}
  ~GrpcToolRun() override { Cancel(); }

  Task<Result<ToolOutput>> Next() override {
    for (;;) {
      if (auto next = Take()) co_return std::move(*next);
      co_await shared_->news.Wait();
    }
  }

  void Cancel() override {
    const std::lock_guard lock(shared_->mutex);
    if (shared_->context != nullptr) shared_->context->TryCancel();
    ReadOn();  // a read must be under way to find out
  }

 private:
  std::optional<Result<ToolOutput>> Take() {
    const std::lock_guard lock(shared_->mutex);
    if (shared_->output) {
      Result<ToolOutput> output = std::move(*shared_->output);
      shared_->output.reset();
      return output;
    }
    if (shared_->ended) return Result<ToolOutput>(*shared_->ended);
    ReadOn();
    return std::nullopt;
  }
  // REQUIRES: mutex
  void ReadOn() {
    if (shared_->reading || !shared_->read_on) return;
    shared_->reading = true;
    shared_->output.reset();
    shared_->read_on();
  }

  const std::shared_ptr<Shared> shared_;
};

}  // namespace

std::unique_ptr<ToolRun> StartToolRun(const CallContext& via,
                                      std::shared_ptr<::tools::ToolService::Stub> stub,
                                      std::string name, std::vector<std::string> arguments) {
  auto shared = std::make_shared<Shared>(via.loop);
  auto* call = new RunCall(via, std::move(stub), shared);
  call->Start(std::move(name), std::move(arguments));
  return std::make_unique<GrpcToolRun>(std::move(shared));
}

}  // namespace airstore::broker
