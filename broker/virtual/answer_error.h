// SPDX-License-Identifier: Apache-2.0
//
// What the errors of a service that a virtual node asks come to.
//
// Threads: pure functions.
#pragma once

#include <cerrno>

namespace airstore::broker {

// It did not answer, or not now: what was known before may stand in for it.
inline bool IsRetry(int code) { return code == EAGAIN || code == ETIMEDOUT; }

// What programs are told of what a service answers.
inline int ErrnoFor(int code) {
  if (IsRetry(code)) return EAGAIN;
  if (code == EREMOTEIO || code == EPROTO) return EIO;
  if (code == ENOSYS) return ENOENT;
  return code;
}

}  // namespace airstore::broker
