// SPDX-License-Identifier: Apache-2.0
//
// Reads of clients that do not tell of them by themselves.
//
// Threads: any.
#pragma once

#include "tools/gateway/clock.h"
#include "tools/gateway/v1/call.h"

namespace airstore::gateway::v1 {

// Whether the caller's reads are to be noted here.
bool IsRecorded(const Context& context);
// Notes the read in the access log when its caller asks for that, by the header x-airstore-session,
// and is no mount, which would tell it a second time (x-airstore-access-origin: fuse). `begun`:
// when the call came; an empty `workspace_id`: the caller's. A failure is logged.
void RecordRead(Gateway& gateway, const Context& context, const std::string& workspace_id,
                SteadyTime begun, AccessEvent event);

}  // namespace airstore::gateway::v1
