// SPDX-License-Identifier: Apache-2.0
//
// The two ways to mount and unmount FUSE: mount(2) with CAP_SYS_ADMIN, fusermount3 without.
// Threads: any; every call blocks.
#pragma once

#include <string>

#include "broker/fuse_device.h"
#include "shm/base/fd.h"
#include "shm/base/result.h"

namespace airstore::broker {

// In the effective set, and in the initial user namespace (where the kernel asks for it).
bool HaveSysAdmin();

Result<UniqueFd> MountDirectly(const FuseMountOptions& options);
// Without allow_other when that is refused.
Result<UniqueFd> MountByHelper(const FuseMountOptions& options);

// ESTALE: something else is mounted over it. `flags`: of umount2(2).
Result<void> UnmountDirectly(const MountedFs& mounted, int flags);
Result<void> UnmountByHelper(const MountedFs& mounted, bool lazy);

}  // namespace airstore::broker
