// SPDX-License-Identifier: Apache-2.0
//
// What those who watch are told, where several gateways are at work: each follows the logs of the
// workspaces that somebody watches through it, and fills its hub from them. A message of the
// channel says that there is something new; nothing is asked for otherwise. Acknowledgements are
// such messages, too: every gateway hears all of them, and the one that waits knows from the store
// whom to wait for.
//
// Messages of the channel may be lost with its connection. Then the gateway ends the watches that
// go through it, which begin again where they were, reads its logs, and asks the others for what
// their watchers have acknowledged. Between servers of a cluster they may be lost without that:
// then logs are looked at each second besides, and whoever waits for an acknowledgement in vain
// does what it does when a watcher is slow.
//
// A server that takes a dead one's place may not know the newest events. Whoever has seen those
// then goes on from a cursor that the log does not have, and is told of a gap.
//
// Threads: any; a thread of its own listens to the channel.
// Ownership: borrows the store.
#pragma once

#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>

#include "tools/gateway/bulletin.h"
#include "tools/gateway/meta/redis/redis_log.h"
#include "tools/gateway/meta/redis/redis_store.h"

namespace airstore::gateway {

struct LogLimits {
  uint64_t events = 8192;
  uint64_t bytes = 32ull << 20;
};

class RedisBulletin final : public Bulletin {
 public:
  // A lease, or watches, have ended; from the listening thread.
  using Heard = std::function<void(const RedisNews&)>;

  // Listens from then on.
  static Result<std::unique_ptr<RedisBulletin>> Open(RedisStore& store,
                                                     std::chrono::milliseconds patience,
                                                     LogLimits limits = {});
  ~RedisBulletin() override;

  // Once, before others use it.
  void WhenHeard(Heard call);
  // There is one event more in the log, which is cut now and then.
  void Trim(WorkspaceKey ws);

  WatchHub& hub() override { return hub_; }
  uint64_t Publish(WorkspaceKey ws, const SessionId& by, const ChangeSet& changes) override;
  void Recall(WorkspaceKey ws, const SessionId& to, uint64_t lease_id) override;
  void LockFreed(WorkspaceKey ws, const SessionId& to, InodeNo ino) override;
  void AskToForget(WorkspaceKey ws, const SessionId& to, InodeNo zone) override;
  Result<uint64_t> Mark(WorkspaceKey ws, const SessionId& to) override;
  Result<uint64_t> Cursor(WorkspaceKey ws) override;
  Result<Told> LastBy(WorkspaceKey ws, const SessionId& session) override;
  Result<bool> Begin(WorkspaceKey ws, const SessionId& session, uint64_t cursor) override;
  Result<void> Acknowledge(WorkspaceKey ws, const SessionId& session, uint64_t cursor) override;
  Result<void> Forget(WorkspaceKey ws, const SessionId& session) override;
  Result<void> WhenSeen(WorkspaceKey ws, const SessionId& by, const Told& told,
                        WatchAcks::Done done) override;
  void End(WorkspaceKey ws, const SessionId* session, const std::string* token_id) override;

 private:
  RedisBulletin(RedisStore& store, std::chrono::milliseconds patience, LogLimits limits);
  Result<void> Subscribe();
  void Listen();
  void Resume();
  Result<void> HearSome();
  void PullIfFollowed(WorkspaceKey ws);
  void LookAgain();
  void Act(const RedisNews& news, std::set<WorkspaceKey>* grown);
  void GiveUp(WorkspaceKey ws, const SessionId& session);
  Result<void> Follow(WorkspaceKey ws);
  Result<void> Pull(WorkspaceKey ws);  // REQUIRES: pull_mu_
  // What of the log is no longer there, and what is new behind `from`. Where that was lost itself
  // the workspace is not followed any more.
  Result<void> PullSome(WorkspaceKey ws, uint64_t from, bool* all);
  void Tell(const RedisNews& news);
  void TellAcknowledged();
  Result<void> Tell(WorkspaceKey ws, const LoggedEvent& event, uint64_t* cursor = nullptr);
  void LetGo();
  // For what needs no answer: a failure is logged.
  void Send(const RedisNews& news);

  RedisStore& store_;
  const RedisKeys& keys_;
  const LogLimits limits_;
  WatchHub hub_;
  std::mutex pull_mu_;

  std::mutex mu_;
  // Guarded by mu_.
  std::condition_variable stop_;
  bool stopping_ = false;
  std::unique_ptr<RedisConnection> channel_;  // used by the listening thread without the lock
  Heard heard_;
  struct Watching {
    WorkspaceKey workspace = 0;
    uint64_t acknowledged = 0;
  };
  std::unordered_map<SessionId, Watching, Id16Hash> watching_;  // through this gateway
  // The listening thread's: when it looked without a message, and when one came.
  SteadyTime looked_, heard_at_ = SteadyNow();
  bool asked_ = false;  // the listening thread's: whether the server is still there
  WatchAcks acks_;
  std::thread listener_;
};

// Inodes that the log of a workspace names behind `cursor`, which becomes its end; 0: only that.
// ESTALE: the log has forgotten some.
Result<std::vector<InodeNo>> ChangedSince(RedisStore& store, WorkspaceKey ws, uint64_t* cursor);

}  // namespace airstore::gateway
