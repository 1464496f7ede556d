// SPDX-License-Identifier: Apache-2.0
//
// Tokens where none may be. The secrets that gateways make have a form of their own (tools/gateway/
// auth.cc), so whatever a test has handed out is recognised. The directory of each run is searched
// when the run ends (janitor.h), and so is what airctl prints (process.h).
// Threads: any.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace airstore::e2e {

bool HasToken(std::string_view text);

// The regular files below that have a token in them and may not: all but those that are for one
// (NAME.token, admin-token, session.json and what lies in tokens/), users' content (content/,
// blocks/), and copies of programs (program-N). Holes are not read, nor what is mounted.
std::vector<std::string> FilesWithTokens(const std::string& directory);

}  // namespace airstore::e2e
