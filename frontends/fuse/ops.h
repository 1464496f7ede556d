// SPDX-License-Identifier: Apache-2.0
//
// The operations of the file system as libfuse calls them: each translates its arguments, asks the
// volume, and answers. What is not here is answered by libfuse with ENOSYS, which the kernel
// remembers.
#pragma once

#include <fuse_lowlevel.h>

namespace airstore::fuse {

void AddNameOps(fuse_lowlevel_ops* ops);   // ops_names.cc
void AddFileOps(fuse_lowlevel_ops* ops);   // ops_files.cc
void AddXattrOps(fuse_lowlevel_ops* ops);  // ops_xattrs.cc
void AddDirOps(fuse_lowlevel_ops* ops);    // ops_dirs.cc
void AddLockOps(fuse_lowlevel_ops* ops);   // ops_locks.cc

}  // namespace airstore::fuse
