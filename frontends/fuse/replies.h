// SPDX-License-Identifier: Apache-2.0
//
// Replies: the volume's plain values as FUSE answers.
// Threads: stateless functions, called by the worker that serves the request. Each consumes it.
#pragma once

#include <fuse_lowlevel.h>

#include <string>

#include "frontends/fuse/fuse_request.h"
#include "frontends/fuse/kernel_abi.h"
#include "frontends/volume/volume.h"

namespace airstore::fuse {

struct stat StatOf(const shm::InodeRecord& record);
fuse_entry_param EntryOf(const volume::Node& node);
abi::EntryOut RawEntryOf(const volume::Node& node);
abi::OpenOut RawOpenOf(const volume::Opened& opened);

// The entry or the error. An entry that does not arrive is forgotten again.
void ReplyNode(fuse_req_t req, volume::Volume& volume, int error, const volume::Node& node);
void ReplyAttr(fuse_req_t req, int error, const volume::Node& node);
// With the time of birth.
void ReplyStatx(fuse_req_t req, int error, const volume::Node& node);
// An open that does not arrive is closed again.
void ReplyOpen(fuse_req_t req, FuseRequest& request, uint64_t inode, int error,
               const volume::Opened& opened);
void ReplyCreate(fuse_req_t req, FuseRequest& request, int error, const volume::Node& node,
                 const volume::Opened& opened);
// The name does not exist, and the kernel may remember that so long.
void ReplyAbsent(fuse_req_t req, uint32_t seconds);

}  // namespace airstore::fuse
