// SPDX-License-Identifier: Apache-2.0
//
// A run of a tool over gRPC. The next message is asked for when the last one was taken, so a reader
// that stops makes the gateway wait.
// Threads: as ToolRun.
#pragma once

#include <airstore/v1/tools.grpc.pb.h>

#include <memory>
#include <string>
#include <vector>

#include "broker/gateway_services.h"
#include "broker/grpc_call.h"

namespace airstore::broker {

std::unique_ptr<ToolRun> StartToolRun(const CallContext& via,
                                      std::shared_ptr<::tools::ToolService::Stub> stub,
                                      std::string name, std::vector<std::string> arguments);

}  // namespace airstore::broker
