// SPDX-License-Identifier: Apache-2.0
//
// The groups of a process.
// Threads: any.
#pragma once

#include <cstdint>

namespace airstore::broker {

// Whether `gid` is among the supplementary groups of the thread `pid`. False: it has ended.
bool IsInGroup(uint32_t pid, uint32_t gid);

}  // namespace airstore::broker
