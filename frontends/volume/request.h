// SPDX-License-Identifier: Apache-2.0
//
// Request: who asks for an operation, and how to notice that a signal has come for it. That ends
// the wait for room in the spool and no other.
//
// An interface, so that each protocol brings its own way of being interrupted and pays for it only
// when an operation really waits.
// Threads: one request belongs to one thread; only Interrupted() may be asked from within a wait.
#pragma once

#include <cstdint>

namespace airstore::volume {

struct Caller {
  uint64_t unique = 0;  // the protocol's request number
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t pid = 0;
  uint32_t umask = 0;  // of those who make files
};

class Request {
 public:
  virtual Caller caller() const = 0;
  virtual bool Interrupted() = 0;
  // Around a wait that may be interrupted: in between, an interrupt must call Volume::Interrupt().
  virtual void StartWait() = 0;
  virtual void EndWait() = 0;
  // The operation is not answered from what is here: it will wait for the broker. May be called
  // more than once.
  virtual void WillWait() {}

 protected:
  ~Request() = default;
};

}  // namespace airstore::volume
