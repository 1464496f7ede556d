// SPDX-License-Identifier: Apache-2.0
//
// The JSON Schema (draft 2020-12) of what --json prints, made from the messages that it is made
// from, so that it cannot lag behind.
// Threads: pure functions.
#pragma once

#include <string>

namespace airstore::airctl {

// #/$defs/NAME is a command ("status", "workspace list", ...) or "error"; others are parts.
std::string JsonSchema();

}  // namespace airstore::airctl
