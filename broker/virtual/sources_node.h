// SPDX-License-Identifier: Apache-2.0
//
// `Sources/<integration>/<view>/`: what the gateway's integrations show, read as files.
// Threads: the event loop.
#pragma once

#include <memory>
#include <string>

#include "broker/gateway_services.h"
#include "broker/virtual/node.h"

namespace airstore::broker {

// `sizes_known`: false when the gateway changes contents on the way (compression), so that listed
// sizes are not those of what is read.
std::shared_ptr<VirtualNode> MakeSourcesNode(std::shared_ptr<GatewayServices> services,
                                             bool sizes_known);
// Names that programs look for everywhere, and that no source has.
bool IsHiddenInSources(const std::string& name);

}  // namespace airstore::broker
