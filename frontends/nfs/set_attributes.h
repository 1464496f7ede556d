// SPDX-License-Identifier: Apache-2.0
//
// Setting attributes for a client: who may, and what goes along.
// Threads: workers'.
#pragma once

#include "frontends/nfs/call.h"

namespace airstore::nfs {

// Of a file as it is in `node`.
nfsstat3 SetAttributes(Call& call, const volume::Node& node, const sattr3& wanted);
// Of one that was just made with that mode: what making it has not set. `node` is brought up to
// date.
nfsstat3 SetRemaining(Call& call, const sattr3& wanted, volume::Node* node);

}  // namespace airstore::nfs
