// SPDX-License-Identifier: Apache-2.0
//
// Completion scripts for shells, made from the parser itself so that they cannot lag behind it.
// Threads: pure functions.
#pragma once

#include <string>

namespace airstore::airctl {

// `shell`: bash, zsh or fish.
std::string CompletionScript(const std::string& shell);

}  // namespace airstore::airctl
