// SPDX-License-Identifier: Apache-2.0
//
// airctl stats and airctl top: what the broker's mounts do.
// Threads: one.
#pragma once

#include <optional>

#include "tools/airctl/commands.h"
#include "tools/airctl/failure.h"

namespace airstore::airctl {

// Nothing: all went well.
std::optional<Failure> Stats(const Invocation& asked, const Surroundings& around);
std::optional<Failure> Top(const Invocation& asked, const Surroundings& around);

}  // namespace airstore::airctl
