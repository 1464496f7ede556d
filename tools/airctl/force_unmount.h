// SPDX-License-Identifier: Apache-2.0
//
// Detaching a mount without the broker, for when there is none.
// Threads: any; blocks.
#pragma once

#include <string>

#include "tools/airctl/failure.h"

namespace airstore::airctl {

// umount2(MNT_DETACH) as root, fusermount3 -u -z otherwise. Touches airstore mounts only.
Outcome<bool> DetachHere(const std::string& mountpoint);

}  // namespace airstore::airctl
