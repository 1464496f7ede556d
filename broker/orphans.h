// SPDX-License-Identifier: Apache-2.0
//
// Orphans: mounts of a broker that has died. Until somebody serves them, whoever uses them waits;
// those that cannot be served again must be ended.
// Threads: any; calls block, for seconds at most.
#pragma once

#include <string>

namespace airstore::broker {

// Ends what is left of the mounts in a session's spool: their users get errors instead of waiting,
// the mount points are free. Each is said in the log.
void EndOrphans(const std::string& session_spool);

}  // namespace airstore::broker
