// SPDX-License-Identifier: Apache-2.0
//
// airctl trace: what a mount is asked, until somebody has seen enough.
// Threads: one.
#pragma once

#include <optional>
#include <set>
#include <string>

#include "tools/airctl/commands.h"
#include "tools/airctl/failure.h"

namespace airstore::airctl {

// What calls and rows of counts are named; the broker's NameOfOp and kHistogramNames.
const std::set<std::string>& TracedOps();

// Nothing: all went well.
std::optional<Failure> Trace(const Invocation& asked, const Surroundings& around);

}  // namespace airstore::airctl
