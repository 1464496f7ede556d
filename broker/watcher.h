// SPDX-License-Identifier: Apache-2.0
//
// Watcher: what other hosts do to the workspace, as this session follows it, and the write lease.
//
// A stream of events from the gateway is acted upon in order and acknowledged; a host that changes
// something is answered when all others have. While the session is alone it holds the write lease:
// changes are acknowledged here and sent in batches. When another host arrives the gateway recalls
// the lease: new changes wait for the gateway from then on, what is pending is sent, then the lease
// is given back. A session without a lease asks for one now and then while it changes things: while
// it is not alone, for that of the zone (tree_zones.cc) in which it does. Another one's wish for a
// zone has what is cached of it forgotten, unless something of it is in use.
//
// Threads: the event loop.
// Fails: never; without a gateway it tries again until Stop().
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>

#include "broker/contents.h"
#include "broker/gateway.h"
#include "broker/locks.h"
#include "broker/log_limit.h"
#include "broker/mutation_log.h"
#include "broker/tree.h"

namespace airstore::broker {

class Watcher {
 public:
  // Resumes the session at the gateway, which does not know it any more.
  using Reopen = std::function<Task<Result<uint64_t>>()>;

  // `opened`: what the gateway answered when the session was opened.
  Watcher(boost::asio::any_io_executor executor, Tasks* tasks, Gateway* gateway, Tree* tree,
          Contents* contents, MutationLog* log, Locks* locks, const OpenedSession& opened,
          Reopen reopen);
  // Goes on where an earlier broker was. Before Start.
  void Adopt(const WatchRecord& left);

  void Start();
  // No event is acted upon after it; the tasks end soon.
  void Stop();

  // Returns when no other host holds the lease: what they have changed is at the gateway then.
  // ETIMEDOUT: one does not give it back.
  Task<Result<void>> Arrive(int64_t deadline_ns);

  // The gateway says which lease it believes us to hold.
  void LeaseIs(uint64_t lease_id);
  // The log has found that leases that it had named have ended.
  void LeasesLost();
  // Asks for the lease, or for that of the zone, unless that was done just now. 0: no zone.
  void Regain(uint64_t zone);
  // What was acknowledged under the zone's lease is sent, and it is given back.
  Task<void> GiveBackZone(uint64_t zone);
  // Likewise, and no lease of it is held until its end: a directory comes or goes.
  Task<void> BeginMoveOfZone(uint64_t zone);
  void EndMoveOfZone(uint64_t zone);
  // It is no zone any more: neither lease nor interest is kept.
  Task<void> ZoneRemoved(uint64_t zone);
  // Those whose leases are held.
  std::vector<uint64_t> HeldZones() const;

 private:
  Task<void> Follow();
  Task<void> ActUpon(WatchEvent event);
  Task<void> Gap();
  Task<void> Acknowledge();
  Task<void> GiveBack(uint64_t lease_id);
  Task<void> AskForLease();
  Task<void> AskForZone(uint64_t zone);
  Task<void> HoldZone(uint64_t zone, AcquiredLease lease);
  Task<void> ForgetZone(uint64_t zone);
  // The events that came before a grant are known, or it was recalled meanwhile: false.
  Task<bool> CaughtUp(const AcquiredLease& lease);
  Task<void> Release(uint64_t lease_id);
  // The lease of all is held: those of zones are not wanted any more.
  Task<void> ReleaseZone(uint64_t zone);
  bool Recalled(uint64_t lease_id) const;
  // A grant of it that arrives later is of before.
  void NoteGone(uint64_t lease_id);
  Task<void> Hold(AcquiredLease lease);
  void LoseLease();
  void Note();  // on record, for who goes on after us

  boost::asio::any_io_executor executor_;
  Tasks* tasks_;
  Gateway* gateway_;
  Tree* tree_;
  Contents* contents_;
  MutationLog* log_;
  Locks* locks_;
  Reopen reopen_;
  const bool may_write_;
  uint64_t cursor_;  // of the last event that was acted upon
  std::unique_ptr<WatchStream> stream_;
  uint64_t acknowledged_ = 0;
  bool acknowledging_ = false;
  uint64_t lease_id_ = 0;          // held, or being given back
  std::deque<uint64_t> recalled_;  // leases that were asked back, or given back, last
  struct Zone {
    uint64_t lease = 0;  // held, or being given back
    bool giving_back = false;
    bool asking = false;
    bool forgetting = false;
    uint32_t moves = 0;  // of directories, under way
    int64_t held_since_ns = 0;
    int64_t next_ask_ns = 0;
    int64_t pause_ns = 0;  // between asks: longer, the shorter it is held
  };
  std::map<uint64_t, Zone> zones_;
  bool giving_back_ = false;
  bool asking_ = false;
  bool arrived_ = false;
  int64_t next_ask_ns_ = 0;
  bool stopping_ = false;
  Event advanced_;  // cursor_ has
  boost::asio::steady_timer retry_;
  LogLimit retries_{std::chrono::seconds(10)};
};

}  // namespace airstore::broker
