// SPDX-License-Identifier: Apache-2.0
//
// GatewayAudit: what a workspace is in the store, read past gateway and broker: metadata and
// blocks, each against its checksum. Threads: any.
#pragma once

#include <string>

#include "tests/e2e/support/host.h"

namespace airstore::fault {

// Compares names, kinds, modes, sizes and content with what the mount `mount` shows; the first
// differences, empty: none.
std::string GatewayAudit(const e2e::Host& host, const std::string& workspace,
                         const std::string& mount);

}  // namespace airstore::fault
