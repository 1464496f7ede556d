// SPDX-License-Identifier: Apache-2.0
//
// airctl recover: what gateways refused for good, and the broker keeps.
// Threads: one.
#pragma once

#include <optional>

#include "tools/airctl/commands.h"
#include "tools/airctl/failure.h"

namespace airstore::airctl {

// Nothing: all went well.
std::optional<Failure> Recover(const Invocation& asked, const Surroundings& around);

}  // namespace airstore::airctl
