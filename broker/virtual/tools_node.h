// SPDX-License-Identifier: Apache-2.0
//
// `Tools/`: for each tool of the gateway a script that runs it through the session's socket.
// Threads: the event loop.
#pragma once

#include <memory>

#include "broker/gateway_services.h"
#include "broker/virtual/generated_node.h"

namespace airstore::broker {

std::shared_ptr<VirtualNode> MakeToolsNode(std::shared_ptr<GatewayServices> services,
                                           const ToolAccess& access);
// What the file of that tool says.
std::string ToolScript(const ToolInfo& tool, const ToolAccess& access);

}  // namespace airstore::broker
