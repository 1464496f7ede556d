// SPDX-License-Identifier: Apache-2.0
//
// Who was heard of when, and who holds which lease. Sessions themselves are rows of the metadata
// and outlive everything; here is what depends on time: a session not heard of for
// `session_seconds` loses its leases and locks (not its sequence), and gets new ones when it is
// back.
//
// A lease is for a session that is alone: only while no other session of its workspace lives, one
// that only reads included, may it keep changes to itself for a while. Whatever the inode: subtrees
// can be moved into each other, and whole workspaces are what brokers ask for. Its id is a fencing
// token: what is sent under one that has ended is refused, by the store.
//
// Where: SessionTable for a gateway that is the only one, RedisSessions for several.
//
// Threads: any.
// Fails: when the store does.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "tools/gateway/clock.h"
#include "tools/gateway/metadata_store.h"

namespace airstore::gateway {

class Sessions {
 public:
  // Asks a holder to give a lease back.
  using Recall = std::function<void(WorkspaceKey, const SessionId& holder, uint64_t lease_id)>;

  virtual ~Sessions() = default;
  // Takes up what earlier gateways have left.
  virtual Result<void> Load() = 0;

  // Does not count as contact.
  virtual Result<std::optional<SessionRecord>> Find(const SessionId& id) = 0;
  // It lives, from now on.
  virtual Result<void> Remember(const SessionRecord& session) = 0;
  virtual void Touch(const SessionId& id, SteadyTime now) = 0;
  virtual bool IsLive(const SessionId& id) = 0;
  // Leases are dropped with the session's row.
  virtual Result<void> Forget(const SessionRecord& session) = 0;
  virtual void ForgetWorkspace(WorkspaceKey ws) = 0;

  struct Acquired {
    std::optional<LeaseRecord> lease;  // nothing: the session is not alone, or may not write
    bool held_by_other = false;        // it was asked to give it back
  };
  virtual Result<Acquired> Acquire(const SessionRecord& session, InodeNo ino, bool may_write) = 0;
  // True: another session of the workspace holds a lease; it was asked to give it back. False:
  // nobody is given one for as long as this session lives.
  virtual Result<bool> RecallOthers(const SessionRecord& session) = 0;
  // Calls `again` when a lease of the workspace has ended, at once if no other session holds one,
  // and after a second in any case. It must not block, nor call this class.
  virtual void WhenFree(const SessionRecord& session, std::function<void()> again) = 0;
  virtual Result<void> Release(const SessionRecord& session, uint64_t lease_id) = 0;
  virtual Result<std::optional<LeaseRecord>> LeaseOf(const SessionRecord& session) = 0;

  // Sessions whose time is over since the last call; their leases, locks and watches are gone. One
  // for which that fails comes again.
  virtual Result<std::vector<SessionRecord>> Expire(SteadyTime now) = 0;
  // Of all workspaces, at whichever gateway.
  virtual Result<uint64_t> CountLive() = 0;
  // Those that this gateway knows of.
  virtual std::vector<SessionRecord> LiveSessions() = 0;

  virtual std::chrono::seconds lifetime() const = 0;
};

}  // namespace airstore::gateway
