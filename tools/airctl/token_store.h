// SPDX-License-Identifier: Apache-2.0
//
// Tokens that `airctl login` has kept: a file of mode 600 for each workspace, where mount(8)'s
// helper looks too.
// Threads: any.
#pragma once

#include <string>

#include "tools/airctl/command_line.h"
#include "tools/airctl/failure.h"

namespace airstore::airctl {

// /etc/airstore/tokens for root, else airstore/tokens in XDG_CONFIG_HOME or ~/.config.
std::string TokenDirectory(const GetEnv& getenv);

// The file; another token that was there is replaced. Its directory is made for its owner alone.
Outcome<std::string> KeepToken(const std::string& directory, const std::string& workspace,
                               const std::string& token);
// The file of the workspace's token; empty: there is none.
std::string KeptToken(const std::string& directory, const std::string& workspace);

}  // namespace airstore::airctl
