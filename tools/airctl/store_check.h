// SPDX-License-Identifier: Apache-2.0
//
// airctl fsck and gc: has a gateway check its store, or delete what nothing needs, and tells what
// it finds.
// Threads: one. A run whose airctl is gone is given up by the gateway.
#pragma once

#include <airstore/control/v1/control.pb.h>

#include <optional>

#include "tools/airctl/commands.h"
#include "tools/airctl/failure.h"

namespace airstore::airctl {

// Fails (FAILURE_KIND_INTERNAL) also when there is damage that was not mended.
std::optional<Failure> CheckStore(const Invocation& asked, const Surroundings& around,
                                  const control::v1::GatewayRef& gateway);

}  // namespace airstore::airctl
