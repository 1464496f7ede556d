// SPDX-License-Identifier: Apache-2.0
//
// From inode records and errnos to what NFS says of them, and back from what clients set.
// Threads: pure.
#pragma once

#include "frontends/nfs/nfs3.h"
#include "frontends/volume/volume.h"

namespace airstore::nfs {

// NFS3_OK for 0. What NFS has no word for is NFS3ERR_IO; a wait that was too long is
// NFS3ERR_JUKEBOX, after which clients try again.
nfsstat3 StatusOf(int error);

nfstime3 TimeOf(int64_t ns);
// Of times that a client sets.
int64_t NsOf(const nfstime3& time);
fattr3 AttributesOf(const shm::InodeRecord& record, uint64_t fsid);
wcc_attr WccOf(const shm::InodeRecord& record);

// `now_ns`: what SET_TO_SERVER_TIME means.
volume::SetattrArgs ChangesOf(const sattr3& wanted, int64_t now_ns);

}  // namespace airstore::nfs
