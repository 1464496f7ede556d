// SPDX-License-Identifier: Apache-2.0
//
// Exporter: writes what tables and lane of a mount say in portable form, for a broker whose ABI is
// not that of the mount's frontend. That broker starts the frontend's own program for it.
// Threads: the only one of its process.
#pragma once

namespace airstore::volume {

// Takes descriptors from the channel: the file to write, then the tables, or lane and arena.
// Answers "ok", or what is wrong. Returns the exit status. The conversation never changes.
int RunExporter(int channel);

}  // namespace airstore::volume
