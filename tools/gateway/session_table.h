// SPDX-License-Identifier: Apache-2.0
//
// Sessions in the memory of the one gateway. Leases are rows too: after a restart of the gateway
// every session has the full time to come back before somebody else can get a lease.
//
// Threads: any.
// Ownership: borrows the metadata store.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "tools/gateway/sessions.h"

namespace airstore::gateway {

class SessionTable final : public Sessions {
 public:
  // Gives up what else a session has, whose time is over.
  using Gone = std::function<Result<void>(const SessionRecord&)>;

  SessionTable(MetadataStore& store, std::chrono::seconds lifetime, Recall recall, Gone gone = {})
      : store_(store), lifetime_(lifetime), recall_(std::move(recall)), gone_(std::move(gone)) {}
  // Loads the leases of an earlier life. All sessions of that life count as just heard of.
  Result<void> Load() override;

  // Known sessions answer from memory, others from the store.
  Result<std::optional<SessionRecord>> Find(const SessionId& id) override;
  Result<void> Remember(const SessionRecord& session) override;
  void Touch(const SessionId& id, SteadyTime now) override;
  bool IsLive(const SessionId& id) override;
  Result<void> Forget(const SessionRecord& session) override;
  void ForgetWorkspace(WorkspaceKey ws) override;
  Result<Acquired> Acquire(const SessionRecord& session, InodeNo ino, bool may_write) override;
  Result<Standing> Enter(const SessionRecord& session) override;
  Result<bool> Register(const SessionRecord& session, const std::vector<InodeNo>& zones) override;
  Result<void> Unregister(const SessionRecord& session, InodeNo zone) override;
  Result<bool> BeginWatch(const SessionRecord& session) override;
  Result<bool> RecallOthers(const SessionRecord& session) override;
  void WhenFree(const SessionRecord& session, std::function<void()> again) override;
  Result<void> Release(const SessionRecord& session, uint64_t lease_id) override;
  Result<std::vector<LeaseRecord>> LeasesOf(const SessionRecord& session) override;
  Result<std::vector<SessionRecord>> Expire(SteadyTime now) override;
  Result<uint64_t> CountLive() override;
  std::vector<SessionRecord> LiveSessions() override;
  std::chrono::seconds lifetime() const override { return lifetime_; }

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
  void WakeWaiters(WorkspaceKey ws);                                 // REQUIRES: mu_
  bool IsAlone(const SessionRecord& session) const;                  // REQUIRES: mu_
  Result<void> DropLeases(const std::vector<LeaseRecord>& leases);   // REQUIRES: mu_
  Result<void> DropInterests(const std::vector<SessionRecord>& of);  // REQUIRES: mu_
  // Those of other sessions, of any of the zones; without zones: all. False: there is none.
  bool RecallSome(const SessionRecord& session, const std::vector<InodeNo>& zones,
                  std::unique_lock<std::mutex>* lock);  // REQUIRES: mu_, which it lets go of
  Result<Acquired> Grant(const SessionRecord& session, InodeNo ino);          // REQUIRES: mu_
  Result<ZoneState> ZoneStateOf(const SessionRecord& session, InodeNo zone);  // REQUIRES: mu_
  Result<Acquired> AcquireZone(const SessionRecord& session, InodeNo zone,
                               std::unique_lock<std::mutex>* lock);  // REQUIRES: mu_

  MetadataStore& store_;
  const std::chrono::seconds lifetime_;
  const Recall recall_;
  const Gone gone_;
  std::mutex mu_;
  // Guarded by mu_. The store's writer is taken inside of it, never the other way round.
  std::unordered_map<SessionId, Live, Id16Hash> live_;
  std::map<uint64_t, Lease> leases_;
  std::vector<Waiter> waiters_;
  std::map<std::pair<SessionId, InodeNo>, SteadyTime> asked_;  // to forget a zone
  uint64_t last_lease_id_ = 0;
  SteadyTime looked_ = SteadyNow();  // by Expire
};

}  // namespace airstore::gateway
