// SPDX-License-Identifier: Apache-2.0
//
// TreeLoad in a process of its own. A test that starts programs must have nothing open in a mount
// that waits: the descriptors are closed in the child before it is another program, and that waits,
// too. Threads: the test's.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/fault/load.h"

namespace airstore::fault {

inline constexpr char kTreeFlag[] = "--tree";

// `files`: what the names of its files begin with.
std::unique_ptr<Load> MakeTreeProcess(const std::string& mount, const std::string& files,
                                      uint64_t seed, bool maps);
// In the process: `arguments` behind kTreeFlag.
int RunTree(const std::vector<std::string>& arguments);

}  // namespace airstore::fault
