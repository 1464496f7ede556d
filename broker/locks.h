// SPDX-License-Identifier: Apache-2.0
//
// Locks: flock and byte ranges of all mounts of a session. Who holds what is in the journal
// (SessionJournal::locks), so a later broker knows it too.
//
// A request that cannot have its lock at once waits here and is answered through its mount's
// device, by number: no thread or slot of the frontend is kept busy, and a frontend that is
// replaced meanwhile need not know of it. Requests may be made again at any time: a waiter is
// recognized by its number, and whoever holds what it asks for gets it once more.
//
// Who waits comes first when a lock becomes free, in the order of coming; what stands in nobody's
// way is had at once, past those who wait.
//
// With the write lease the session is alone and decides by itself. Without it the gateway decides:
// what is here follows its answers, and is told to it anew whenever it may have forgotten.
//
// Threads: the event loop.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "broker/gateway.h"
#include "broker/inode_cache.h"
#include "broker/mount_port.h"
#include "broker/session_journal.h"

namespace airstore::broker {

class Locks {
 public:
  // Of Set: the request is answered later.
  static constexpr int kDeferred = -1;

  // Who asks, besides the owner.
  struct Asker {
    uint64_t unique = 0;  // number of the request at the device of the owner's mount
    uint32_t thread = 0;  // that waits for the answer; 0: not known
    bool wait = false;
  };

  // So that locks order what hosts read and write, also in files that stay open.
  struct Coherence {
    std::function<Task<void>(uint64_t inode)> publish;  // what was written, before others may lock
    // What others have, once it is locked; errno.
    std::function<Task<int>(uint64_t inode)> refresh;
  };

  // `patience_ns`: for the gateway, of those who do not want to wait for a lock.
  Locks(boost::asio::any_io_executor executor, Tasks* tasks, Gateway* gateway,
        SessionJournal* journal, InodeCache* inodes, MountSet* mounts, int64_t patience_ns);
  void SetCoherence(Coherence coherence) { coherence_ = std::move(coherence); }
  // The tasks end soon.
  void Stop();

  // Locks, or unlocks. 0, kDeferred, or an errno: EAGAIN held by another, EDEADLK waiting would
  // never end, EINTR, ENOLCK too many, no room in the journal, or what the owner had locked was
  // lost; EINVAL, ESTALE no such file, ETIMEDOUT no gateway.
  int Set(const LockCall& call, const Asker& asker);
  // What stands in the way.
  Task<Result<std::optional<LockRange>>> Test(LockCall call);
  // See LockTable. Who waits through an open file that is closed does so no more.
  Task<void> Flush(LockCall call);
  Task<void> Release(LockCall call);
  // The request's client does not want to wait any more. What it was granted, and was not told of,
  // is taken back.
  void Interrupt(uint32_t mount, uint64_t unique);
  // What Set has just given, and its client will not hear of, is as it was before.
  void TakeBack(uint32_t mount, uint64_t unique);
  // The mount is gone.
  void ReleaseMount(uint32_t mount);
  // Goes on with what an earlier broker has left in the journal, after the mounts were adopted:
  // locks of mounts that are not there are released.
  void Resume();

  // ---- other hosts (locks_shared.cc)
  // The gateway decides from now on. Returns when it knows what is held here.
  Task<void> Share();
  // The write lease is held: we do.
  void Alone();
  // A lock that somebody here waits for can be had.
  void OnFreed(uint64_t inode);
  // The gateway may have been restarted, and events may be lost.
  void OnReconnected();

 private:
  struct Waiter {
    Waiter(const boost::asio::any_io_executor& executor, const LockCall& what, const Asker& who)
        : call(what), asker(who), pause(executor), limit(executor) {}
    LockCall call;
    Asker asker;
    bool asking = false;   // Ask runs for it
    bool news = false;     // since it was last asked for
    bool done = false;     // whatever its client wants by now
    bool wished = false;   // the gateway tells when it is free
    bool granted = false;  // and what others wrote under it is being fetched
    uint64_t left = 0;     // number of the wish left at the gateway; 0: none
    boost::asio::steady_timer pause;
    boost::asio::steady_timer limit;  // of who does not want to wait
  };
  using WaiterPtr = std::shared_ptr<Waiter>;
  using Request = std::pair<uint32_t, uint64_t>;  // mount and number

  // A lock that somebody was given.
  struct Grant {
    Request request;
    LockCall call;
    std::vector<LockRange> before;  // what its owner had there
    bool undelivered = false;       // its client did not wait for the answer when it came
  };

  static Request RequestOf(const Waiter& waiter) {
    return {waiter.call.range.owner.mount, waiter.asker.unique};
  }
  const LockTable& table() const { return journal_->locks().held; }
  int Check(const LockCall& call) const;
  // 0 or ENOLCK.
  int Record(LockRecord::Action action, const LockCall& call, uint64_t unique);
  // Puts on record what changed of locks, tells frontends, and serves who waits.
  int Change(LockRecord::Action action, const LockCall& call, uint64_t unique = 0);
  // Before it is put on record. Of a request that is made again the first one counts.
  void NoteGrant(const Request& request, const LockCall& call);
  Grant* FindGrant(const Request& request);
  // Its owner goes on from what it has.
  void ForgetGrants(const std::function<bool(const Grant&)>& which);
  bool IsClosing(const LockCall& call) const;
  void GiveUpOwn(const LockCall& call);
  WaiterPtr Wait(const LockCall& call, const Asker& asker);
  Task<void> NotForLong(WaiterPtr waiter);
  bool IsWaiting(const WaiterPtr& waiter) const;
  void Forget(const WaiterPtr& waiter);
  void Answer(const WaiterPtr& waiter, int error);
  // The same; with an error a lock that was granted meanwhile is taken back.
  void Settle(const WaiterPtr& waiter, int error);
  void ServeWaiters(uint64_t inode);
  Task<void> ServeAllSoon();
  void Publish(uint64_t inode);
  bool WouldDeadlock(const LockCall& call, uint32_t thread) const;

  // locks_shared.cc
  int StartAsking(const LockCall& call, const Asker& asker);
  Task<void> Ask(WaiterPtr waiter);
  Task<void> Ready(LockCall call);
  Task<void> EndAtLimit(WaiterPtr waiter);
  Task<int> AskGateway(WaiterPtr waiter);
  void DecideHere(const WaiterPtr& waiter);
  Task<void> Pause(WaiterPtr waiter, std::chrono::milliseconds time);
  void Poke(const WaiterPtr& waiter);
  void PokeAll();
  Task<void> Drop(LockRecord::Action action, LockCall call, std::vector<LockOwner> owners);
  Task<void> Asserted();
  Task<void> Assert();
  void AssertAgain();
  void Lose(const LockCall& call);
  bool TakeLost(const LockCall& call);
  Task<void> TakeTurn(uint64_t inode);
  void EndTurn(uint64_t inode);

  boost::asio::any_io_executor executor_;
  Tasks* tasks_;
  Gateway* gateway_;
  SessionJournal* journal_;
  InodeCache* inodes_;
  MountSet* mounts_;
  const int64_t patience_ns_;
  Coherence coherence_;
  std::map<uint64_t, std::vector<WaiterPtr>> waiting_;  // by inode, in the order of coming
  std::map<Request, WaiterPtr> requests_;
  // Interrupts that came before their request did.
  std::array<Request, 64> interrupted_{};
  size_t next_interrupted_ = 0;
  std::array<Grant, 64> grants_;  // the last ones whose clients may not know of them
  size_t next_grant_ = 0;

  bool shared_ = true;     // the gateway decides
  bool asserted_ = false;  // it knows what is held here
  bool asserting_ = false;
  bool stopping_ = false;
  uint64_t version_ = 0;  // of the table, and of what is to be asserted
  uint64_t asserts_ = 0;  // begun
  uint64_t next_left_ = 1;
  std::set<uint64_t> turns_;  // inodes of which something is being asked or told
  Event turn_over_;
  Event asserted_event_;
  std::vector<LockCall> lost_;  // what owners believe to hold, and do not
};

// The thread waits in fcntl for a lock of an open file (OFD), not of its process.
bool WaitsForOpenFileLock(uint32_t thread);

}  // namespace airstore::broker
