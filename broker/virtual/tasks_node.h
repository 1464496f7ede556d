// SPDX-License-Identifier: Apache-2.0
//
// `Tasks/<id>.task`: what a task is, and what it has said so far.
// Threads: the event loop.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "broker/gateway_services.h"
#include "broker/virtual/node.h"

namespace airstore::broker {

std::shared_ptr<VirtualNode> MakeTasksNode(std::shared_ptr<GatewayServices> services);
// The text of the file.
std::string TaskText(const TaskInfo& task, const std::vector<std::string>& logs);
// Of RFC 3339; 0: it makes no sense.
int64_t ParseTime(const std::string& text);

}  // namespace airstore::broker
