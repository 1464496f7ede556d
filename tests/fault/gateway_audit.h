// SPDX-License-Identifier: Apache-2.0
//
// GatewayAudit: what a workspace is in the gateway's own data, read past gateway and broker: its
// database and its blocks, each against its checksum.
// Threads: any.
#pragma once

#include <string>

namespace airstore::fault {

// Compares names, kinds, modes, sizes and content with what the mount `mount` shows; the first
// differences, empty: none. `data`: the gateway's directory.
std::string GatewayAudit(const std::string& data, const std::string& workspace,
                         const std::string& mount);

}  // namespace airstore::fault
