// SPDX-License-Identifier: Apache-2.0
//
// What happened in each workspace, in commit order: a bounded ring of events with cursors, from
// which any number of watchers read at their own pace. A watcher that is too far behind (or comes
// with a cursor of an earlier life of the gateway) gets a gap.
//
// Cursors start at the wall clock in microseconds, so those of a new life are greater than all of
// the one before. Where several gateways share a log, that gives the cursors, and the hub holds a
// copy of what this gateway follows (Follow, Deliver).
//
// Threads: any. Listeners are called from the publishing thread, without the hub's lock.
// Ownership: shares each listener with the stream it belongs to, until Remove().
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "tools/gateway/events.h"

namespace airstore::gateway {

enum class WatchEnd {
  kOver,    // the session or its token has ended
  kBehind,  // it did not acknowledge in time
  kAgain,   // the gateway has lost sight of what others do: to be begun again
};

class WatchHub {
 public:
  // Told that there may be something new, or that its session or token has ended.
  class Listener {
   public:
    virtual ~Listener() = default;
    virtual void Wake() = 0;
    virtual void End(WatchEnd why) = 0;
    virtual bool BelongsTo(WorkspaceKey ws, const SessionId* session,
                           const std::string* token_id) const = 0;
  };

  explicit WatchHub(size_t events_per_workspace = 8192,
                    size_t bytes_per_workspace = size_t{32} << 20);

  // Answers the event's cursor.
  uint64_t PublishChanges(WorkspaceKey ws, const SessionId& by, ChangeSet changes);
  // These two are for one session; one that is far behind may never hear of them.
  void PublishRecall(WorkspaceKey ws, const SessionId& to, uint64_t lease_id);
  void PublishLockFreed(WorkspaceKey ws, const SessionId& to, InodeNo ino);
  void PublishForget(WorkspaceKey ws, const SessionId& to, InodeNo zone);
  // Only marks a place; answers its cursor.
  uint64_t PublishMark(WorkspaceKey ws, const SessionId& to);

  uint64_t cursor(WorkspaceKey ws);
  // The last change that the session made. One that is not in the ring is as old as this life of
  // the gateway: whoever watches since knows of it.
  Told LastBy(WorkspaceKey ws, const SessionId& session);
  // The next event for this session behind `*cursor`, which moves to it, or behind all that does
  // not concern the session.
  std::optional<HubEvent> Next(WorkspaceKey ws, const SessionId& session, uint64_t* cursor);

  // ---- Of a log that several gateways share. From the first Follow() on, watching what is not
  // followed ends with kAgain.
  // Forgets what it has of the workspace, and begins behind what is forgotten.
  void Follow(WorkspaceKey ws, const ForgottenEvents& forgotten);
  void Unfollow(WorkspaceKey ws);
  // Where a followed one is; nothing: it is not.
  std::optional<uint64_t> Followed(WorkspaceKey ws);
  void Deliver(WorkspaceKey ws, std::vector<LoggedEvent> events);
  // Followed ones, and whether anybody watches them.
  std::vector<std::pair<WorkspaceKey, bool>> AllFollowed();

  void Add(std::shared_ptr<Listener> listener);
  void Remove(const Listener* listener);
  // Ends the watches of a session, a token, a workspace: what is given must match.
  void End(WorkspaceKey ws, const SessionId* session, const std::string* token_id,
           WatchEnd why = WatchEnd::kOver);

 private:
  struct Stream {
    std::deque<LoggedEvent> events;
    size_t bytes = 0;  // of `events`, about
    uint64_t last = 0;
    ForgottenEvents forgotten;

    void Forget();  // the oldest event
  };
  Stream& StreamOf(WorkspaceKey ws);  // REQUIRES: mu_
  uint64_t Publish(WorkspaceKey ws, LoggedEvent stored);
  void Keep(Stream& stream, LoggedEvent stored);                        // REQUIRES: mu_
  std::vector<std::shared_ptr<Listener>> ListenersOf(WorkspaceKey ws);  // REQUIRES: mu_

  const size_t capacity_;
  const size_t capacity_bytes_;
  const uint64_t start_cursor_;
  std::mutex mu_;
  // Guarded by mu_.
  std::unordered_map<WorkspaceKey, Stream> streams_;
  bool follows_ = false;
  std::vector<std::shared_ptr<Listener>> listeners_;
};

}  // namespace airstore::gateway
