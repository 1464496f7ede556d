// SPDX-License-Identifier: Apache-2.0
#include "broker/grpc_tool_run.h"

#include "broker/grpc_services_status.h"
#include "broker/grpc_stream.h"

namespace airstore::broker {
namespace {

using Stream = GrpcStream<::tools::ExecuteToolRequest, ::tools::ExecuteToolResponse, ToolOutput>;

Result<ToolOutput> Decode(::tools::ExecuteToolResponse& message) {
  ToolOutput output;
  output.stream = message.stream() == ::tools::ExecuteToolResponse::STDERR
                      ? ToolOutput::Stream::kErr
                      : ToolOutput::Stream::kOut;
  output.data = std::move(*message.mutable_data());
  output.done = message.done();
  output.exit_code = message.exit_code();
  output.error = message.error();
  return output;
}

class GrpcToolRun final : public ToolRun {
 public:
  GrpcToolRun(const CallContext& via, ::tools::ExecuteToolRequest request, Stream::Rules rules)
      : stream_(via, std::move(request), std::move(rules)) {}

  Task<Result<ToolOutput>> Next() override { return stream_.Next(); }
  void Cancel() override { stream_.Cancel(); }

 private:
  Stream stream_;
};

}  // namespace

std::unique_ptr<ToolRun> StartToolRun(const CallContext& via,
                                      std::shared_ptr<::tools::ToolService::Stub> stub,
                                      std::string name, std::vector<std::string> arguments) {
  ::tools::ExecuteToolRequest request;
  request.set_name(std::move(name));
  for (std::string& argument : arguments) request.add_args(std::move(argument));
  Stream::Rules rules;
  rules.most_waiting = 1;
  rules.decode = Decode;
  rules.ended = [](const grpc::Status& status) {
    return status.ok() ? Error{EREMOTEIO, "the gateway did not say how it ended"}
                       : ServiceError("run", status);
  };
  rules.start = [stub = std::move(stub)](grpc::ClientContext* context,
                                         const ::tools::ExecuteToolRequest* from, auto* reactor) {
    stub->async()->ExecuteTool(context, from, reactor);
  };
  return std::make_unique<GrpcToolRun>(via, std::move(request), std::move(rules));
}

}  // namespace airstore::broker
