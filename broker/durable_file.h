// SPDX-License-Identifier: Apache-2.0
//
// A small file that is there as a whole or not at all, also after the loss of power.
// Threads: any.
#pragma once

#include <string>

#include "shm/base/result.h"

namespace airstore::broker {

// Replaces `directory`/`name`, mode 0600; on stable storage when it returns.
Result<void> WriteDurably(const std::string& directory, const std::string& name,
                          const std::string& text);
// The names in it are on stable storage when it returns.
Result<void> SyncDirectory(const std::string& path);

}  // namespace airstore::broker
