// SPDX-License-Identifier: Apache-2.0
//
// What is mounted where, without a call into it. Threads: any.
#pragma once

#include <string>
#include <vector>

namespace airstore::e2e {

bool IsBelow(const std::string& path, const std::string& directory);  // or that itself

// Mount points at or below `path`, the innermost first.
std::vector<std::string> MountsBelow(const std::string& path);

}  // namespace airstore::e2e
