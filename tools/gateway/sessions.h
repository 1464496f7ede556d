// SPDX-License-Identifier: Apache-2.0
//
// Who was heard of when, and who holds which lease. Sessions themselves are rows of the metadata
// and outlive everything; here is what depends on time: a session not heard of for
// `session_seconds` loses its leases and locks (not its sequence), and gets new ones when it is
// back.
//
// A lease is for who is alone: may keep changes to itself for a while. That of the root is granted
// while no other session of the workspace lives, one that only reads included; that of a zone
// (zones.h) while no other session has registered the zone. A session registers what it is about to
// read or has changed, and nobody is granted a lease there until it has said that it has forgotten
// all of it, or has expired. A lease's id is a fencing token: what is sent under one that has ended
// is refused, by the store.
//
// Where: SessionTable for a gateway that is the only one, RedisSessions for several.
//
// Threads: any.
// Fails: when the store does.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <vector>

#include "tools/gateway/clock.h"
#include "tools/gateway/metadata_store.h"

namespace airstore::gateway {

class Sessions {
 public:
  // Asks a holder to give a lease back.
  using Recall = std::function<void(WorkspaceKey, const SessionId& holder, uint64_t lease_id)>;
  // Asks who has registered a zone to forget it.
  using AskToForget = std::function<void(WorkspaceKey, const SessionId& who, InodeNo zone)>;

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
  // `ino`: the root, or a zone; who is alone gets that of the root in any case.
  virtual Result<Acquired> Acquire(const SessionRecord& session, InodeNo ino, bool may_write) = 0;

  // For a call that reads or changes something, by a session that lives from now on.
  struct Standing {
    bool held_by_other = false;  // the whole workspace; it was asked to give it back
    std::set<InodeNo> zones;     // that it has registered; kAllZones among them: all
  };
  virtual Result<Standing> Enter(const SessionRecord& session) = 0;
  // False: another session holds a lease of one of them, and was asked to give it back.
  virtual Result<bool> Register(const SessionRecord& session,
                                const std::vector<InodeNo>& zones) = 0;
  virtual Result<void> Unregister(const SessionRecord& session, InodeNo zone) = 0;
  // A session begins to watch. False: it was away for so long that what it had registered is gone,
  // so it must not believe what it has cached.
  virtual Result<bool> BeginWatch(const SessionRecord& session) = 0;
  // Once, before others use it.
  void AskWith(AskToForget call) { ask_ = std::move(call); }

  // For those who register nothing, and are in the way of all. True: another session of the
  // workspace holds a lease, of whatever; it was asked to give it back. False: nobody is given one
  // for as long as this session lives.
  virtual Result<bool> RecallOthers(const SessionRecord& session) = 0;
  // Calls `again` when a lease of the workspace has ended, at once if no other session holds one,
  // and after a second in any case. It must not block, nor call this class.
  virtual void WhenFree(const SessionRecord& session, std::function<void()> again) = 0;
  virtual Result<void> Release(const SessionRecord& session, uint64_t lease_id) = 0;
  virtual Result<std::vector<LeaseRecord>> LeasesOf(const SessionRecord& session) = 0;

  // Sessions whose time is over since the last call; their leases, locks and watches are gone. One
  // for which that fails comes again.
  virtual Result<std::vector<SessionRecord>> Expire(SteadyTime now) = 0;
  // Of all workspaces, at whichever gateway.
  virtual Result<uint64_t> CountLive() = 0;
  // Those that this gateway knows of.
  virtual std::vector<SessionRecord> LiveSessions() = 0;

  virtual std::chrono::seconds lifetime() const = 0;

 protected:
  // Of one moment: what a grant of a zone's lease depends on.
  struct ZoneState {
    bool grantable = false;
    std::vector<SessionId> in_the_way;  // that could forget it
  };
  // `live`: sessions of the workspace. One that has not registered what all have (the root's zone)
  // may have cached anything.
  static ZoneState LookAtZone(MetadataReader& rows, const SessionRecord& session, InodeNo zone,
                              const std::vector<SessionId>& live);
  static void PutZones(MetadataWriter& rows, const SessionRecord& session,
                       const std::vector<InodeNo>& zones);

  AskToForget ask_;
};

}  // namespace airstore::gateway
