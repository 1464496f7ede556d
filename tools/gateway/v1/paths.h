// SPDX-License-Identifier: Apache-2.0
//
// Paths of v1: text, relative to a root, slashes at the ends and twice in a row mean nothing.
//
// Threads: pure functions.
#pragma once

#include <string_view>
#include <vector>

#include "shm/base/result.h"

namespace airstore::gateway::v1 {

// The components, borrowed from `path`; none: the root. EINVAL: "." or "..", or a byte 0;
// ENAMETOOLONG: a component of more than 255 bytes.
Result<std::vector<std::string_view>> SplitPath(std::string_view path);

// What v1 can say: names are text there and bytes in a workspace.
bool IsUtf8(std::string_view text);

// Root folders that mounts show whether they are stored or not, and that cannot be deleted.
bool IsReserved(std::string_view name);

}  // namespace airstore::gateway::v1
