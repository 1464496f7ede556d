// SPDX-License-Identifier: Apache-2.0
//
// The crash tests from the command line: many runs, until the first failure.
#pragma once

#include <string>
#include <vector>

namespace airstore::fault {

// `arguments`: without the program's name. Whether they are for it, and not for GoogleTest.
bool WantsSoak(const std::vector<std::string>& arguments);
// The exit status: 0 everything held, 1 something did not, 2 wrong use.
int RunSoak(const std::vector<std::string>& arguments);

}  // namespace airstore::fault
