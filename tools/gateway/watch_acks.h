// SPDX-License-Identifier: Apache-2.0
//
// Who has seen what: a change is answered to whoever made it when every other session that watches
// the workspace has acknowledged it. So nobody finds the old state once a change has returned.
//
// A watcher that does not acknowledge in time is given up: it is not waited for any more until it
// watches again, and is then told of a gap. One whose stream breaks has the same time to come back.
//
// Threads: any; a thread of its own for the time limit. Done and GiveUp run without the lock, on
// whichever thread found out.
// Ownership: owns nothing but who waits. The destructor finishes them all.
#pragma once

#include <condition_variable>
#include <functional>
#include <list>
#include <mutex>
#include <set>
#include <thread>
#include <unordered_map>
#include <vector>

#include "tools/gateway/clock.h"
#include "tools/gateway/events.h"

namespace airstore::gateway {

class WatchAcks {
 public:
  using Done = std::function<void()>;
  using GiveUp = std::function<void(WorkspaceKey, const SessionId&)>;

  WatchAcks(std::chrono::milliseconds patience, GiveUp give_up);
  ~WatchAcks();
  WatchAcks(const WatchAcks&) = delete;
  WatchAcks& operator=(const WatchAcks&) = delete;

  // A session of an earlier life of the gateway, which may have been watching: the next change
  // waits for it as for one whose stream broke.
  void Expect(WorkspaceKey ws, const SessionId& session);
  // The session watches from that cursor on. False: it was given up since it last did.
  bool Begin(WorkspaceKey ws, const SessionId& session, uint64_t cursor);
  void Acknowledge(const SessionId& session, uint64_t cursor);
  // The session has ended.
  void Forget(const SessionId& session);
  // Calls `done` once all watchers whom it concerns, but `by`, have acknowledged, at once if they
  // have.
  void WhenSeen(WorkspaceKey ws, const SessionId& by, const Told& told, Done done);
  // The same, of those that the caller knows to watch, at whichever gateway. Acknowledgements of
  // theirs that came before are known from Hear().
  void WhenSeenBy(WorkspaceKey ws, const std::set<SessionId>& who, uint64_t cursor, Done done);
  // A session that watches here or elsewhere has acknowledged. 0: it begins with a gap, and what it
  // acknowledged before counts no more (events may have been lost, and cursors come again).
  void Hear(WorkspaceKey ws, const SessionId& session, uint64_t cursor);

 private:
  struct Watcher {
    WorkspaceKey workspace = 0;
    uint64_t acknowledged = 0;
    bool given_up = false;
  };
  struct Waiting {
    uint64_t cursor = 0;
    std::set<SessionId> missing;
    SteadyTime deadline;
    Done done;
  };
  // Takes the session off whoever waits for no more than `cursor`; appends who need not wait on.
  void Satisfy(const SessionId& session, uint64_t cursor,
               std::vector<Done>* done);  // REQUIRES: mu_
  void Wait(Waiting waiting);             // REQUIRES: mu_
  void KeepTime();

  const std::chrono::milliseconds patience_;
  const GiveUp give_up_;
  std::mutex mu_;
  // Guarded by mu_.
  std::condition_variable wake_;
  std::unordered_map<SessionId, Watcher, Id16Hash> watchers_;
  std::list<Waiting> waiting_;  // by ascending deadline
  bool ending_ = false;
  std::thread timer_;
};

}  // namespace airstore::gateway
