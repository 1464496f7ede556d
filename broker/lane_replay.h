// SPDX-License-Identifier: Apache-2.0
//
// The writes that a dead session's lanes still hold: accepted, and not yet in their content files.
//
// Threads: the event loop.
#pragma once

#include <functional>
#include <set>
#include <span>
#include <string>

#include "broker/journal_state.h"
#include "broker/task.h"

namespace airstore::broker {

// Waits until no frontend has a lane of the spool open any more, then writes what the queues hold
// into the files in `content_directory`. Errors of the disk are answered, and everything may be
// done again; a lane that makes no sense is logged and left. `unread` is set for one of another
// ABI: its frontends are dead, and nobody else can read it.
Task<Result<void>> ReplayLanes(boost::asio::any_io_executor executor, std::string spool,
                               std::string content_directory, shm::SessionId session,
                               const ContentTable& contents, bool* unread);

// The same for the mounts of a session that goes on with `living` ones; the lanes are removed,
// or kept under other names if they are of another ABI. Whether there was one.
// Blocks until frontends that have just been killed are gone. EBUSY: one is not.
Result<bool> ReplayOtherLanes(const std::string& spool, const std::string& content_directory,
                              const shm::SessionId& session, const ContentTable& contents,
                              const std::set<uint32_t>& living);

// Removes them: after a loss of power the pages of lanes, arenas and ledgers are of no common time,
// and what was synced had left them before.
void DropLanes(const std::string& spool);

}  // namespace airstore::broker
