// SPDX-License-Identifier: Apache-2.0
//
// What a gateway keeps in a directory of its host, unless its store is elsewhere.
//
// Threads: plain functions.
#pragma once

#include <string>

#include "shm/base/fd.h"
#include "shm/base/result.h"

namespace airstore::gateway {

// Makes the directory if there is none, and keeps others out of it for as long as the descriptor is
// open. EBUSY: another one has it.
Result<UniqueFd> LockDataDirectory(const std::string& directory);

// URLs of the metadata and the blocks that are kept there.
std::string MetadataIn(const std::string& directory);
std::string BlocksIn(const std::string& directory);

}  // namespace airstore::gateway
