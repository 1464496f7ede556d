// SPDX-License-Identifier: Apache-2.0
//
// airctl trace: what a mount is asked, until somebody has seen enough.
// Threads: one.
#pragma once

#include <optional>

#include "tools/airctl/commands.h"
#include "tools/airctl/failure.h"

namespace airstore::airctl {

// Nothing: all went well.
std::optional<Failure> Trace(const Invocation& asked, const Surroundings& around);

}  // namespace airstore::airctl
