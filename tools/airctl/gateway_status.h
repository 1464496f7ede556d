// SPDX-License-Identifier: Apache-2.0
//
// airctl gateway status: which gateways the broker's mounts use, whether they answer, and what they
// promise.
// Threads: the caller's.
#pragma once

#include <airstore/control/v1/control.pb.h>

#include <optional>

#include "tools/airctl/command_line.h"
#include "tools/airctl/commands.h"
#include "tools/airctl/failure.h"

namespace airstore::airctl {

// Fails when none of them answers.
std::optional<Failure> GatewayStatus(const Invocation& asked, const Surroundings& around,
                                     const control::v1::GatewayRef& gateway);

}  // namespace airstore::airctl
