// SPDX-License-Identifier: Apache-2.0
//
// Load: something that uses a mount while processes are killed, and remembers what it was told.
// Threads: all methods are for the test's thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace airstore::fault {

// What must be there afterwards.
enum class Kept {
  kAcknowledged,  // the effect of every call that returned
  kSynced,        // what fsync returned for; the host is lost
};

// A call that failed. The load ends with it.
struct LoadError {
  int code = 0;  // errno; 0: it is wrong whatever the rules are, such as reading other bytes
  std::string what;
};

class Load {
 public:
  virtual ~Load() = default;

  virtual void Start() = 0;
  // What returns from here on does not count: the mount is about to end.
  virtual void BeginEnd() = 0;
  // Ends the work, after the call under way, and waits for that.
  virtual void Join() = 0;

  virtual std::string name() const = 0;
  virtual uint64_t acknowledged() const = 0;
  // After Join.
  virtual std::vector<LoadError> errors() const = 0;
  // After Join: what is wrong in the mount `mount`, which shows what the gateway has; empty:
  // nothing.
  virtual std::string Check(const std::string& mount, Kept kept) const = 0;
};

}  // namespace airstore::fault
