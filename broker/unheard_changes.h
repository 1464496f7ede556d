// SPDX-License-Identifier: Apache-2.0
//
// What a dead broker may have changed, and not told all mounts of. Those who asked for it ask
// again, and then the others are told; but a mount that did not come back asks for nothing.
//
// Threads: any.
#pragma once

#include "broker/journal_state.h"
#include "broker/mount_port.h"

namespace airstore::broker {

// Of changes that are older and settled all have heard.
RemoteChanges UnheardChanges(const JournalState& left);

}  // namespace airstore::broker
