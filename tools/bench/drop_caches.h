// SPDX-License-Identifier: Apache-2.0
//
// What the kernel keeps for all file systems. Needs root. Threads: plain functions.
#pragma once

#include "shm/base/result.h"

namespace airstore::bench {

// As the kernel numbers them (Documentation/admin-guide/sysctl/vm.rst).
enum class KernelCache { kCleanPages = 1, kDentriesAndInodes = 2 };

Result<void> DropCache(KernelCache cache);

}  // namespace airstore::bench
