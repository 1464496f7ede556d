// SPDX-License-Identifier: Apache-2.0
//
// Who was heard of when, and who holds which lease. Sessions themselves are rows of the metadata
// and outlive everything; here is what depends on time: a session not heard of for
// `session_seconds` loses its leases and locks (not its sequence), and gets new ones when it is
// back.
//
// Leases are rows too: after a restart of the gateway every session has the full time to come back
// before somebody else can get a lease.
//
// A lease is for a session that is alone: only while no other session of its workspace lives, one
// that only reads included, may it keep changes to itself for a while. Whatever the inode: subtrees
// can be moved into each other, and whole workspaces are what brokers ask for.
//
// Threads: any.
// Ownership: borrows the metadata store.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "tools/gateway/clock.h"
#include "tools/gateway/metadata_store.h"

namespace airstore::gateway {

class SessionTable {
 public:
  // Asks a holder to give a lease back.
  using Recall = std::function<void(WorkspaceKey, const SessionId& holder, uint64_t lease_id)>;

  SessionTable(MetadataStore& store, std::chrono::seconds lifetime, Recall recall)
      : store_(store), lifetime_(lifetime), recall_(std::move(recall)) {}
  // Loads the leases of an earlier life. All sessions of that life count as just heard of.
  Result<void> Load();

  // Known sessions answer from memory, others from the store. Does not count as contact.
  Result<std::optional<SessionRecord>> Find(const SessionId& id);
  void Remember(const SessionRecord& session);
  void Touch(const SessionId& id, SteadyTime now);
  bool IsLive(const SessionId& id);
  void Forget(const SessionId& id);  // leases are dropped with the session's row
  void ForgetWorkspace(WorkspaceKey ws);

  struct Acquired {
    std::optional<LeaseRecord> lease;  // nothing: the session is not alone, or may not write
    bool held_by_other = false;        // it was asked to give it back
  };
  Result<Acquired> Acquire(const SessionRecord& session, InodeNo ino, bool may_write);
  // True: another session of the workspace holds a lease; it was asked to give it back.
  bool RecallOthers(const SessionRecord& session);
  // Calls `again` when a lease of the workspace has ended, at once if no other session holds one,
  // and after a second in any case. It must not block, nor call this class.
  void WhenFree(const SessionRecord& session, std::function<void()> again);
  Result<void> Release(const SessionId& session, uint64_t lease_id);
  std::optional<LeaseRecord> LeaseOf(const SessionId& session);

  // Sessions whose time is over since the last call; their leases are gone.
  Result<std::vector<SessionRecord>> Expire(SteadyTime now);
  std::vector<SessionRecord> LiveSessions();

  std::chrono::seconds lifetime() const { return lifetime_; }

 private:
  struct Live {
    SessionRecord record;
    SteadyTime seen;
  };
  struct Lease {
    LeaseRecord record;
    SteadyTime recalled;
  };
  struct Waiter {
    WorkspaceKey workspace = 0;
    std::function<void()> again;
  };
  // 0: all of them.
  void WakeWaiters(WorkspaceKey ws);                                // REQUIRES: mu_
  bool IsAlone(const SessionRecord& session) const;                 // REQUIRES: mu_
  Result<void> DropLeases(const std::vector<LeaseRecord>& leases);  // REQUIRES: mu_

  MetadataStore& store_;
  const std::chrono::seconds lifetime_;
  const Recall recall_;
  std::mutex mu_;
  // Guarded by mu_. The store's writer is taken inside of it, never the other way round.
  std::unordered_map<SessionId, Live, Id16Hash> live_;
  std::map<uint64_t, Lease> leases_;
  std::vector<Waiter> waiters_;
  uint64_t last_lease_id_ = 0;
};

}  // namespace airstore::gateway
