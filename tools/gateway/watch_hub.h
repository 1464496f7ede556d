// SPDX-License-Identifier: Apache-2.0
//
// What happened in each workspace, in commit order: a bounded ring of events with cursors, from
// which any number of watchers read at their own pace. A watcher that is too far behind (or comes
// with a cursor of an earlier life of the gateway) gets a gap.
//
// Cursors start at the wall clock in microseconds, so those of a new life are greater than all of
// the one before.
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

#include "tools/gateway/types.h"

namespace airstore::gateway {

struct HubEvent {
  uint64_t cursor = 0;
  bool gap = false;
  uint64_t lease_recall = 0;                 // id of the lease, or 0
  InodeNo lock_freed = 0;                    // or 0
  std::shared_ptr<const ChangeSet> changes;  // shared by all who watch
};

enum class WatchEnd {
  kOver,    // the session or its token has ended
  kBehind,  // it did not acknowledge in time
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

  uint64_t cursor(WorkspaceKey ws);
  // The cursor of the last change that another session made.
  uint64_t LastFor(WorkspaceKey ws, const SessionId& session);
  // The next event for this session behind `*cursor`, which moves to it, or behind all that does
  // not concern the session.
  std::optional<HubEvent> Next(WorkspaceKey ws, const SessionId& session, uint64_t* cursor);

  void Add(std::shared_ptr<Listener> listener);
  void Remove(const Listener* listener);
  // Ends the watches of a session, a token, a workspace: what is given must match.
  void End(WorkspaceKey ws, const SessionId* session, const std::string* token_id,
           WatchEnd why = WatchEnd::kOver);

 private:
  struct Stored {
    HubEvent event;
    size_t bytes = 0;
    SessionId session;  // of changes: who made them; else: whom it is for

    bool is_change() const { return event.changes != nullptr; }
  };
  struct Forgotten {
    SessionId session;
    uint64_t cursor = 0;
  };
  struct Stream {
    std::deque<Stored> events;
    size_t bytes = 0;  // of `events`, about
    uint64_t last = 0;
    uint64_t forgotten = 0;  // greatest cursor that is no longer in `events`
    // The newest change that is no longer in `events`, and the newest one of another session than
    // that: so what a session itself has made is no gap for it.
    Forgotten newest, other;

    uint64_t LostFor(const SessionId& session) const {
      return newest.session == session ? other.cursor : newest.cursor;
    }
    void Forget();  // the oldest event
  };
  Stream& StreamOf(WorkspaceKey ws);  // REQUIRES: mu_
  uint64_t Publish(WorkspaceKey ws, Stored stored);

  const size_t capacity_;
  const size_t capacity_bytes_;
  const uint64_t start_cursor_;
  std::mutex mu_;
  // Guarded by mu_.
  std::unordered_map<WorkspaceKey, Stream> streams_;
  std::vector<std::shared_ptr<Listener>> listeners_;
};

}  // namespace airstore::gateway
