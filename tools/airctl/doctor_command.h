// SPDX-License-Identifier: Apache-2.0
//
// airctl doctor: what is wrong with this host, its broker and the gateways, and what mends it.
// Threads: one.
#pragma once

#include <optional>

#include "tools/airctl/commands.h"
#include "tools/airctl/failure.h"

namespace airstore::airctl {

// Nothing: nothing is wrong.
std::optional<Failure> Doctor(const Invocation& asked, const Surroundings& around);

}  // namespace airstore::airctl
