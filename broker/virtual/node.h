// SPDX-License-Identifier: Apache-2.0
//
// VirtualNode: what is shown below one name of a workspace's root instead of storage.
// Threads: the event loop.
// Fails: errnos for the program that asks. EAGAIN, ETIMEDOUT: the gateway was not reached; what is
// cached of the node is served then.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "broker/gateway.h"
#include "broker/task.h"
#include "shm/base/result.h"

namespace airstore::broker {

struct VirtualEntry {
  std::string name;
  uint32_t mode = 0;  // with type bits
  uint64_t size = 0;
  // Not known until it has been read: its opens look at the size again.
  bool size_unknown = false;
  int64_t mtime_ns = 0;
  uint64_t version = 0;         // of the content; another number when it changes
  uint64_t listed_version = 0;  // what the listing said of it last; the overlay's
  // The whole content, if it is at hand; else Read() is asked.
  std::optional<std::string> content;
  bool content_once = false;  // ... and is to be forgotten when it was handed out; the overlay's
  // Its attributes take a question of their own, which is only asked when somebody wants them.
  bool name_only = false;
};

class VirtualNode {
 public:
  enum class Kind {
    kReadOnly,  // nothing can be made or changed
    kQuery,     // directories and files can be made: each is a question to the gateway
    kWritable,  // storage, under a name that the gateway knows
  };

  virtual ~VirtualNode() = default;
  virtual Kind kind() const = 0;
  // Shall its name be in the root: as gateways say by themselves, and what is asked of those that
  // do not.
  virtual bool IsOffered(const OfferedServices& offered) const = 0;
  virtual Task<Result<bool>> HasSomething() = 0;

  // `path`: below the node, "" is the node itself.
  virtual Task<Result<std::vector<VirtualEntry>>> List(std::string path) = 0;
  // Of what is not in the listing, or has no attributes there. ENOENT.
  virtual Task<Result<VirtualEntry>> Stat(std::string path) = 0;
  // Less than `length` bytes: the file ends there.
  virtual Task<Result<std::string>> Read(std::string path, uint64_t offset, uint64_t length) = 0;
  // kQuery. EROFS, EPERM.
  virtual Task<Result<void>> Make(std::string path, bool directory);
  // How long what was said about the path may be believed. Asked anew only when somebody looks at
  // it again; zero: for as long as the session lives.
  virtual std::chrono::milliseconds Lifetime(const std::string& path,
                                             const VirtualEntry& entry) = 0;
};

}  // namespace airstore::broker
