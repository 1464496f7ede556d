// SPDX-License-Identifier: Apache-2.0
//
// What requests say that libfuse 3.14 does not understand: flags that it drops, longer bodies, and
// operations that it does not know, which are rewritten into ones that it does.
// Threads: each worker notes the request that it received last.
#pragma once

#include <cstddef>
#include <cstdint>

namespace airstore::fuse {

struct RequestHints {
  bool tmpfile = false;      // what libfuse takes for CREATE
  bool statx = false;        // what libfuse takes for GETATTR
  bool kill_set_id = false;  // OPEN, CREATE, SETATTR, WRITE
  bool kill_sgid = false;    // SETXATTR
};

// Notes the request's hints for this thread, and makes it one for libfuse. Answers its length then.
// `setxattr_ext`: FUSE_SETXATTR_EXT was agreed upon.
size_t TranslateRequest(uint8_t* request, size_t bytes, bool setxattr_ext);
// Of the request that this thread received last.
const RequestHints& Hints();

}  // namespace airstore::fuse
