// SPDX-License-Identifier: Apache-2.0
//
// Where a token comes from: a private file, stdin or the environment; never the command line, which
// every user of the host can read.
// Threads: any.
#pragma once

#include <string>

#include "tools/airctl/failure.h"

namespace airstore::airctl {

// `file`: a path, "-" for stdin, or empty for `variable` (the value of AIRSTORE_TOKEN, may be
// null).
Outcome<std::string> ReadToken(const std::string& file, const char* variable);

}  // namespace airstore::airctl
