// SPDX-License-Identifier: Apache-2.0
//
// airctl debug: what lies in the state directory of a broker, read without asking it: it may hang,
// or have died. Nothing is changed there.
// Threads: one.
#pragma once

#include <airstore/control/v1/report.pb.h>

#include <optional>
#include <string>
#include <vector>

#include "tools/airctl/commands.h"
#include "tools/airctl/failure.h"

namespace airstore::airctl {

// Each of these. Nothing: all went well.
std::optional<Failure> DebugSpool(const Invocation& asked, const Surroundings& around);
std::optional<Failure> DebugJournal(const Invocation& asked, const Surroundings& around);
std::optional<Failure> DebugShm(const Invocation& asked, const Surroundings& around);
// A tar archive of what tells what is going on, without tokens.
std::optional<Failure> DebugBundle(const Invocation& asked, const Surroundings& around);

// What airstored has logged last, in the file that this configuration names, or else in the
// journal.
struct LogEnd {
  std::string from;  // where that is
  std::string text;
};
LogEnd EndOfLog(const std::string& configuration);

// Where the broker of that socket has its state: --state-dir, beside the socket, or the default.
std::string StateDirectory(const Invocation& asked, const GetEnv& getenv);

// The directories of sessions, of which there is a manifest.
struct SessionDirectory {
  std::string path;
  std::string id;
};
Outcome<std::vector<SessionDirectory>> SessionsIn(const std::string& state_dir);

Outcome<control::v1::SpoolReport> LookAtSpool(const std::string& state_dir);
Outcome<control::v1::JournalReport> LookAtJournals(const std::string& state_dir);
Outcome<control::v1::ShmReport> LookAtLanes(const std::string& state_dir);

}  // namespace airstore::airctl
