// SPDX-License-Identifier: Apache-2.0
//
// airctl warm: reads a tree once, so that it is on this host when it is needed.
// Threads: one; makes more.
#pragma once

#include <optional>

#include "tools/airctl/commands.h"
#include "tools/airctl/failure.h"

namespace airstore::airctl {

// Nothing: all of it was read.
std::optional<Failure> Warm(const Invocation& asked, const Surroundings& around);

}  // namespace airstore::airctl
