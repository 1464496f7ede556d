// SPDX-License-Identifier: Apache-2.0
//
// Sessions and leases where several gateways are at work: all of it is in Redis, so a session may
// go from one gateway to another at any call, and leases outlive whoever granted them.
//
//  - A session that lives is a member of its workspace's set of those. It becomes one, and stops
//    being one, under the guard of leases, which grants and batches are made under, too: nobody is
//    granted a lease beside a session that has just come.
//  - When it was heard of is told to the server now and then, by the server's clock. Whichever
//    gateway finds one silent for too long takes its leases, locks, watch and membership, in one
//    transaction that fails if it was heard of meanwhile: however long that gateway was stopped
//    after it looked. Time in which no gateway, or no Redis, was at work does not count. All of it
//    is kept with the workspace, so it is one server's clock, and one transaction.
//  - Which workspaces to look at is listed, outside of that transaction: before a session joins,
//  and
//    again with its signs of life. One is taken from the list when nobody lives there, and that it
//    is listed was not said for a minute. So at worst the dead are found when somebody joins them:
//    who would be in their way.
//
// What is kept here is a copy of rows that do not change, and what saves asking again and again.
//
// Threads: any.
// Ownership: borrows the store.
#pragma once

#include <map>
#include <mutex>
#include <unordered_map>

#include "tools/gateway/meta/redis/redis_transaction.h"
#include "tools/gateway/sessions.h"

namespace airstore::gateway {

class RedisSessions final : public Sessions {
 public:
  RedisSessions(RedisStore& store, std::chrono::seconds lifetime, Recall recall)
      : store_(store), keys_(store.keys()), lifetime_(lifetime), recall_(std::move(recall)) {}

  Result<void> Load() override;
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

  // What another gateway has done.
  void Hear(const RedisNews& news);

 private:
  struct Known {
    SessionRecord record;
    SteadyTime heard;  // last call through this gateway
    SteadyTime told;   // when the server was told so
  };
  // How long a sign of life may wait before the server hears of it.
  std::chrono::milliseconds linger() const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(lifetime_) / 6;
  }
  // A lease of the workspace may have ended; 0: of any.
  void WakeWaiters(WorkspaceKey ws);
  Result<void> Join(const SessionRecord& session);
  // Leases of the workspace, whether the session lives, and what it has registered, of one moment.
  Result<std::vector<LeaseRecord>> Leases(const SessionRecord& session, bool* lives,
                                          std::set<InodeNo>* zones = nullptr);
  // As Leases(), of one that lives from now on.
  Result<std::vector<LeaseRecord>> Arrive(const SessionRecord& session, std::set<InodeNo>* zones);
  void RecallAll(const std::vector<LeaseRecord>& leases);
  void AskAll(WorkspaceKey ws, InodeNo zone, std::vector<SessionId> who);
  struct Place {
    WorkspaceKey workspace = 0;
    std::string since;  // as the server has it: milliseconds
  };
  // Where sessions may live.
  Result<std::vector<Place>> Living();
  struct Silent {
    SessionRecord session;
    int64_t before_ms = 0;  // not heard of since, by the clock of the workspace's server
  };
  // Says that a gateway is at work, too.
  Result<std::vector<Silent>> FindSilent(SteadyTime now);
  Result<void> Drop(const SessionRecord& session);
  // As Drop(), with locks and watch, if it was not heard of since; false: it was, or is gone.
  Result<bool> DropSilent(const SessionRecord& session, int64_t before_ms);
  void TellFreed(WorkspaceKey ws);

  RedisStore& store_;
  const RedisKeys& keys_;
  const std::chrono::seconds lifetime_;
  const Recall recall_;
  struct Waiter {
    WorkspaceKey workspace = 0;
    std::function<void()> again;
  };
  std::mutex mu_;
  // Guarded by mu_; not held while the server is asked.
  std::unordered_map<SessionId, Known, Id16Hash> known_;
  std::map<uint64_t, SteadyTime> recalled_;                    // leases
  std::map<std::pair<SessionId, InodeNo>, SteadyTime> asked_;  // to forget a zone
  std::vector<Waiter> waiters_;
};

}  // namespace airstore::gateway
