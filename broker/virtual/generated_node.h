// SPDX-License-Identifier: Apache-2.0
//
// What the broker makes itself: `.airstore/`, with what a tool's script needs to reach the broker.
// The token is not among it.
// Threads: the event loop.
#pragma once

#include <memory>
#include <string>

#include "broker/virtual/node.h"

namespace airstore::broker {

// How programs of the mount's users reach the broker that runs their tools.
struct ToolAccess {
  std::string gateway_address;
  std::string socket;  // path of the session's socket
  std::string ticket;  // proves that who asks can read the mount
  std::string shim;    // path of airstore-shim; empty: it is not installed
};

std::shared_ptr<VirtualNode> MakeConfigNode(const ToolAccess& access);
// As a word of a shell.
std::string ShellQuoted(const std::string& text);

}  // namespace airstore::broker
