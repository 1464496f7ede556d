// SPDX-License-Identifier: Apache-2.0
//
// Advisory locks between hosts: flock (whole files) and byte ranges with POSIX rules (an owner's
// locks merge and split; they never conflict with themselves). The two kinds do not see each other,
// as on Linux. Nobody waits here: a conflict is answered, and the caller tries again.
//
// Locks live in memory: after a restart of the gateway they are gone, like those of an NFS server
// without its grace period.
//
// Threads: any.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "tools/gateway/types.h"

namespace airstore::gateway {

struct LockOwner {
  SessionId session;
  std::string owner;
  friend bool operator==(const LockOwner&, const LockOwner&) = default;
};

enum class LockMode { kUnlock, kShared, kExclusive };

struct LockSpec {
  LockOwner owner;
  LockMode mode = LockMode::kUnlock;
  uint64_t start = 0;
  uint64_t end = UINT64_MAX;  // inclusive
  uint32_t pid = 0;
};

class LockTable {
 public:
  // Nothing: it is done (or would be, with `test_only`). Else what stands in its way.
  std::optional<LockSpec> Set(WorkspaceKey ws, InodeNo ino, bool flock, const LockSpec& wanted,
                              bool test_only);
  void ReleaseSession(const SessionId& session);

  // A session's share of memory: ranges it may hold at once.
  static constexpr size_t kMaxLocksPerInode = 65536;

 private:
  struct FileKey {
    WorkspaceKey ws = 0;
    InodeNo ino = 0;
    bool flock = false;
    friend auto operator<=>(const FileKey&, const FileKey&) = default;
  };
  std::mutex mu_;
  std::map<FileKey, std::vector<LockSpec>> files_;  // guarded by mu_
};

}  // namespace airstore::gateway
