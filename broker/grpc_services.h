// SPDX-License-Identifier: Apache-2.0
//
// GatewayServices over gRPC (the v1 services tools, sources and gateway).
//
// Answers are checked before anybody sees them: names, sizes, counts. Unpacking runs on gRPC's
// threads.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "broker/gateway_services.h"
#include "broker/grpc_call.h"

namespace airstore::broker {

// Headers that go with every call: whose reads they are, and that the mount tells of them itself.
std::vector<std::pair<std::string, std::string>> AccessMetadata(const ServiceSettings& settings);

// Uses the connection, the token and the limits of `via`. Creating views is not limited by its
// timeout, and neither are runs of tools.
std::shared_ptr<GatewayServices> MakeGrpcServices(CallContext via);

}  // namespace airstore::broker
