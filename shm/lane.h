// SPDX-License-Identifier: Apache-2.0
//
// The lane of one mount: LaneProducer is the frontend's side, LaneConsumer the broker's.
//
// One ordered queue carries everything from the frontend to the broker: calls (with a request
// slot), writes (with bytes in the arena), releases and forgets. Order is the meaning: a call sees
// every write queued before it. The consumer copies each record and each call's arguments once,
// validates the copy, and uses only the copy: a hostile frontend can hurt nothing but its own lane.
// Should it truncate the files, the broker goes on with zeroed memory and finds the lane corrupt
// (fault_guard.h).
//
// A frontend that dies leaves behind what its successor needs to serve the interrupted requests
// once only (the protocol sends them again): answers to calls that change something, which are kept
// until EndRequest, and traces of what it did without a call. Calls that only ask are simply made
// again. What stays: a lookup or an open that was counted, but whose trace was not written yet, is
// counted twice. That keeps an entry in its place, or a file with the daemon, for longer than
// needed.
//
// Waking: the broker sleeps on an eventfd and says so in `broker_sleeps`; a frontend thread sleeps
// on its slot's state, or on `progress` when the queue or the arena is full. Nobody polls.
// Threads: LaneProducer: any thread of the frontend. LaneConsumer: one thread of the broker.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "shm/fault_guard.h"
#include "shm/request_traces.h"
#include "shm/segment.h"

namespace airstore::shm {

inline constexpr uint64_t kArenaBytes = 64ull << 20;    // payload ring of an arena, at most
inline constexpr uint64_t kMinArenaBytes = 4ull << 20;  // ... and at least
inline constexpr uint64_t kArenaRingOffset = 4096;      // where the ring begins in the segment
inline constexpr int64_t kForever = INT64_MAX;          // of waits, in nanoseconds
inline constexpr uint32_t kMaxWrite = 1u << 20;         // greatest payload of one kWrite record
// Flags of a kWrite record.
inline constexpr uint32_t kWriteAppends = 1;  // to the file's end; its place was told by kAppend
inline constexpr uint32_t kWriteRepeats = 2;  // its request is made again: it may have been queued

uint64_t LaneBytes(uint32_t inode_uses);

// Beside LaneCursors::mounts: there were others since the lane was made. What its client knows of
// ends of files may be from before they were gone.
inline constexpr uint32_t kWasShared = 1u << 31;

// Of a segment whose ring has that many bytes.
uint64_t ArenaSegmentBytes(uint64_t ring_bytes);

// What came of a change that was carried out: the inode it was about, and the change's place in the
// broker's log (0: it left none).
struct Executed {
  uint64_t inode = 0;
  uint64_t ticket = 0;
};

// A read that a frontend has answered.
struct NotedRead {
  uint64_t inode = 0;
  uint64_t offset = 0;
  int64_t time_ms = 0;  // Unix time of the answer
  uint32_t requested = 0;
  uint32_t bytes = 0;  // of the answer
  uint32_t latency_us = 0;
  ReadSource source = ReadSource::kNowhere;
  uint16_t error = 0;
};

// A call as the broker sees it: a validated private copy.
struct Call {
  uint32_t slot = 0;
  uint64_t position = 0;  // place in the endless queue + 1
  RequestArgs args{};
  std::string name;
  std::string name2;
  // Of a call that an earlier broker has carried out and not answered.
  std::optional<Executed> executed;
  // Nobody waits for the answer any more, since before the call was taken.
  bool given_up = false;
};

class LaneConsumer {
 public:
  // What came next in the queue.
  struct Item {
    QueueOp op = QueueOp::kNone;
    Call call;            // kCall
    uint64_t inode = 0;   // kWrite, kRelease, kForget, kTouch
    uint64_t offset = 0;  // kWrite
    uint32_t flags = 0;   // kRelease, kReads, kWrite
    uint64_t unique = 0;  // kInterrupt; kWrite that appends: of the request, 0: not known
    int64_t time_ns = 0;
    std::span<const uint8_t> data;  // kWrite: in the arena, valid until MarkApplied
    uint64_t arena_end = 0;         // kWrite: arena_applied after this record
  };
  enum class Next { kItem, kEmpty, kCorrupt };

  // Over freshly created segments (CreateSpool); the lane's uses follow meta's inode capacity.
  // `first_place`: of the first record in the endless queue.
  // REQUIRES: kMinArenaBytes <= arena_bytes <= kArenaBytes, whole pages.
  static Result<std::unique_ptr<LaneConsumer>> Create(const SessionId& session,
                                                      uint32_t mount_index, uint32_t inode_uses,
                                                      const std::string& lane_path,
                                                      const std::string& arena_path,
                                                      uint64_t first_place = 0,
                                                      uint64_t arena_bytes = kArenaBytes);

  // Over the segments of a broker that has died, attached writable, with or without a living
  // frontend. Goes on behind what had been applied: Pop gives again what may have been in work,
  // first of all the calls that were taken and never answered.
  static Result<std::unique_ptr<LaneConsumer>> Adopt(std::unique_ptr<Segment> lane,
                                                     std::unique_ptr<Segment> arena);

  Segment& lane() { return *lane_; }
  Segment& arena() { return *arena_; }

  // The next record, consumed. kCorrupt: the frontend broke the protocol (`why` says how); end it.
  Next Pop(Item* item, std::string* why);
  // Records popped so far: the place of the last one in the endless queue + 1.
  uint64_t popped() const { return popped_; }
  // Inodes that it counts the uses of: the capacity of its session's table.
  uint32_t inode_uses() const { return inode_uses_; }
  // Nothing is queued, or popped and not applied yet.
  bool AllApplied() const { return !HasNext() && applied_ == popped_; }
  // Places before this one are of the life of an earlier broker.
  uint64_t adopted_until() const { return adopted_until_; }
  // Says that everything popped so far was looked at: who waits sees that there is a broker.
  void MarkTaken();
  // Says that everything popped so far has taken effect: frees its arena bytes and wakes waiters.
  void MarkApplied();
  // Notes that the call has had its effect, for a broker that finds it unanswered. The note lies
  // with the frontend: who forges one is told nothing that it could not ask for.
  void NoteExecuted(uint32_t slot, uint64_t position, const Executed& executed);
  // Whether the frontend keeps the slot for the call at that place: its request has no answer yet.
  bool Keeps(uint32_t slot, uint64_t position) const;
  // An append that was told where to go, and whose request has no answer yet.
  struct Append {
    uint32_t slot = 0;
    uint64_t position = 0;
    uint64_t inode = 0;
    uint64_t end = 0;
  };
  std::vector<Append> Appends() const;
  // Whether an earlier broker took the call at that place and did not answer it.
  bool Unanswered(uint64_t position) const;
  // Answers a call: stores the reply, publishes it, wakes the waiting thread. `text` fits behind
  // the names of any call that is answered with one. False: the caller had given up, and hears of
  // no success.
  bool Reply(uint32_t slot, const RequestReply& reply, std::string_view text = {});

  // Puts the lane in order after the frontend's death: closes gaps of records it had reserved but
  // not written, so that Pop reaches what other threads had already been promised, and frees the
  // slots of calls that were never sent. Before the next frontend attaches.
  // REQUIRES: the frontend's process is gone.
  void FrontendGone();
  // Numbers of the requests that the frontend was serving by itself: when it has crashed, one of
  // them is to blame. REQUIRES: as above, and no other frontend since.
  std::vector<uint64_t> RequestsInWork() const;

  // Going to sleep. False: there is something to do after all, stay awake.
  bool PrepareSleep();
  void Awake();

  // Adds the keys of the slab extents that the frontend is handing to the kernel.
  void AddHazards(std::vector<uint64_t>* keys) const;
  uint32_t Lookups(uint32_t inode_index) const;
  uint32_t Opens(uint32_t inode_index) const;
  // Looked up since this was last asked.
  bool TakeUsed(uint32_t inode_index);
  // A call that has made the inode is under way, or its client does not have the answer yet.
  bool Answering(uint64_t inode) const;
  void SetMounts(uint32_t mounts);
  // The session has no write lease: a close that returns must have sent what was written.
  void SetSynchronous(bool synchronous);
  // How long requests of the frontend wait for what a broker must do; 0: for ever.
  void SetPatience(uint32_t patience_ms);
  // What a write waits before it is accepted, see LaneCursors; `closed_ns`: since when.
  void SetWriteGate(uint32_t gate, int64_t closed_ns, uint32_t stall_ms);
  // Whether the frontend notes its reads from now on.
  void WantReads(bool wanted);
  // Adds reads that were noted to `reads`, at most so many, and says how many there was no room for
  // since the last time. After the last one that is there the frontend tells of the next (kReads).
  // True: there may be more.
  bool TakeReads(size_t most, std::vector<NotedRead>* reads, uint64_t* left_out);
  uint64_t Counter(uint32_t counter) const;
  uint64_t HistogramBucket(uint32_t row, uint32_t bucket) const;

 private:
  LaneConsumer(std::unique_ptr<Segment> lane, std::unique_ptr<Segment> arena);
  LaneLayout* layout() const { return lane_->At<LaneLayout>(0); }
  bool HasNext() const;
  Next PopAdopted(Item* item);
  Next PopQueued(Item* item);
  // Validates one record into `item`; what is wrong with it, or nothing.
  std::string Take(const QueueRecord& record, QueueOp op, Item* item);
  std::string TakeWrite(uint64_t position, uint32_t length, Item* item);
  std::string TakeCall(uint32_t slot_index, Call* call);
  // The call of the record at popped_ was answered by the broker whose lane this was.
  bool AnsweredBefore(uint32_t slot_index) const;
  uint64_t QueuedCalls() const;  // bits of the slots whose call is still to be popped
  void WakeFrontend();

  Result<void> Guard();

  std::unique_ptr<Segment> lane_;
  std::unique_ptr<Segment> arena_;
  FaultGuard lane_guard_;  // behind the segments: ends before them
  FaultGuard arena_guard_;
  // Our own cursors: the shared ones are for the frontend to read.
  uint64_t popped_ = 0;
  uint64_t applied_ = 0;
  uint64_t arena_popped_ = 0;
  uint64_t arena_applied_ = 0;
  uint64_t open_calls_ = 0;     // bit: a call of this slot was popped and not yet answered
  uint64_t adopted_calls_ = 0;  // bit: an earlier broker had popped it; Pop gives it once more
  uint64_t adopted_until_ = 0;  // records before this place may have been popped by that broker
  uint64_t reads_begun_ = 0;  // places of reads before this one had been given when we last looked
  uint64_t reads_left_out_ = 0;  // as counted by the frontend when we last looked
  uint32_t inode_uses_ = 0;
  uint64_t ring_bytes_;
  std::string broken_;  // why the lane is corrupt, for good
};

class LaneProducer {
 public:
  // `wake_fd`: the eventfd the broker sleeps on; owned by the caller and outlives this.
  static Result<std::unique_ptr<LaneProducer>> Attach(std::unique_ptr<Segment> lane,
                                                      std::unique_ptr<Segment> arena, int wake_fd);
  ~LaneProducer();

  // From here on this thread serves the request with that number, until EndRequest.
  // `repeated`: the protocol says that it was sent before, perhaps to another frontend. Returns
  // what was done for it then, at an inode index, if the caller is to undo it.
  struct Left {
    LocalEffect effect = LocalEffect::kNone;  // kNone, kLookup or kOpen
    uint32_t inode_index = 0;
  };
  Left BeginRequest(uint64_t unique, bool repeated);
  // The protocol's client has the answer: frees what was kept for a repetition.
  void EndRequest();
  // The request of this thread is being made again.
  bool RequestRepeated() const;
  uint64_t RequestUnique() const;  // 0: none is in work
  // No request of an earlier frontend will be made again any more.
  void DropLeft();
  // After the lookup or open was counted, before the answer.
  void NoteEffect(LocalEffect effect, uint32_t inode_index) const;
  // Before the end of an open is counted. False: it was, for this very request.
  bool NoteRelease() const;

  // The protocol's opening message, for successors; empty: not saved yet.
  // REQUIRES: bytes.size() <= kOpeningBytes.
  void SaveOpening(std::span<const uint8_t> bytes);
  std::vector<uint8_t> Opening() const;
  // The length of the longest request that this mount has had.
  size_t GreatestRequest() const;
  void NoteRequestBytes(size_t bytes) const;

  using Interrupted = std::function<bool()>;

  // Sends a call and waits for its answer. `interrupted` (may be empty) is asked when the wait is
  // woken early (see Interrupt); when true: EINTR. ETIMEDOUT when the request has waited for as
  // long as one may. In both cases the broker need not begin with the call, and gives back what it
  // brings; what gives something back itself is made in any case.
  // Returns the reply with its errno in `error`. ENAMETOOLONG when the texts do not fit.
  // `text` (may be nullptr) receives the reply's text. `until_ns` (CLOCK_MONOTONIC): ETIMEDOUT then
  // at the latest.
  RequestReply CallBroker(const RequestArgs& args, std::string_view name, std::string_view name2,
                          const Interrupted& interrupted, std::string* text = nullptr,
                          int64_t until_ns = kForever);
  // Something is to be waited for before a write that takes room.
  bool writes_wait() const;
  // To be asked before a write of that many bytes: waits while the broker wants writes to be slow.
  // ENOSPC: the spool has had no room for longer than a write waits. EINTR.
  int AwaitRoom(uint64_t bytes, const Interrupted& interrupted);
  // Copies the bytes into the arena and queues a write. Waits when queue or arena is full; nothing
  // when there was no room in time, and nothing is queued then.
  // REQUIRES: data.size() <= kMaxWrite. Returns the record's place: WaitApplied(it) to be sure.
  // `append`: goes to the file's end, which was `offset` when the broker was asked.
  std::optional<uint64_t> QueueWrite(uint64_t inode, uint64_t offset, std::span<const uint8_t> data,
                                     int64_t time_ns, bool append = false);
  // These do not wait: what finds no room is queued when there is some.
  // Does nothing when it was done for this very request before.
  void QueueRelease(uint64_t inode, uint32_t flags);
  void QueueForget(uint64_t inode);
  // A file was read: its time of access is due. Left out when the queue is full: nobody waits.
  void QueueTouch(uint64_t inode, int64_t time_ns);
  // Somebody wants to know what is read.
  bool reads_wanted() const { return layout()->reads.wanted.load(std::memory_order_relaxed) != 0; }
  // After the answer. Waits for nothing; what finds no room is left out and counted.
  void NoteRead(const NotedRead& read);
  // Until what was queued by that has been acted upon. False as of WaitWrites.
  bool WaitTouches(uint64_t inode);
  // The client does not wait any longer for the request with that number. Returns a place for
  // WaitTaken.
  uint64_t QueueInterrupt(uint64_t unique);
  // A second from now, or now if there seems to be no broker: until when to wait for what happens
  // in any case.
  int64_t InAMoment() const;
  // These wait as long as the request may, and no longer than `until_ns` (CLOCK_MONOTONIC).
  // Waits until a broker has seen everything before that place. False: it has not.
  bool WaitTaken(uint64_t place, int64_t until_ns);
  // Waits until the broker has applied everything up to and including that place. False: it has not
  // done so in time; it will.
  bool WaitApplied(uint64_t place, int64_t until_ns = kForever);
  // Waits for the writes to this inode that this frontend has queued, if any can be outstanding.
  bool WaitWrites(uint64_t inode, int64_t until_ns = kForever);
  // The same, but no longer than until their bytes are in the file: other mounts may not have heard
  // of them yet.
  bool WaitWritten(uint64_t inode);
  // Wakes all waiting calls so that they ask `interrupted`.
  void Interrupt();

  uint32_t mount_index() const;
  bool shared_session() const;                // other mounts of this session exist
  bool was_shared() const;                    // or did since the lane was made
  bool synchronous() const;                   // see LaneConsumer::SetSynchronous
  InodeUse* Use(uint32_t inode_index) const;  // nullptr when out of range
  HazardSlot& Hazard(uint32_t slot) const;    // slot < kHazardSlots; in use from now on
  void Count(uint32_t counter, uint64_t by = 1) const;
  void Observe(uint32_t row, uint64_t nanoseconds) const;

 private:
  LaneProducer(std::unique_ptr<Segment> lane, std::unique_ptr<Segment> arena, int wake_fd);
  LaneLayout* layout() const { return lane_->At<LaneLayout>(0); }
  // A record to be; its place and payload are given when it is queued.
  struct Message {
    QueueOp op = QueueOp::kNone;
    uint32_t slot = 0;
    uint64_t inode = 0;
    uint64_t offset = 0;
    uint32_t flags = 0;
    int64_t time_ns = 0;
    uint64_t unique = 0;
  };
  struct Place {
    uint64_t record = 0;
    uint64_t arena = 0;
  };
  enum class End { kReady, kInterrupted, kTimeOver };  // of a wait
  class Waiting;

  bool Reserve(const Message& message, uint64_t bytes, Place* place);
  End AwaitPlace(const Message& message, uint64_t bytes, const Interrupted& interrupted,
                 const Waiting& waiting, Place* place);
  void Publish(const Message& message, std::span<const uint8_t> data, const Place& place);
  // Now, if there is room, and else later.
  void QueueInAnyCase(const Message& message);
  bool ClaimSlot(uint32_t* index);
  void FreeSlot(uint32_t index);
  RequestReply Call(const RequestArgs& args, std::string_view name, std::string_view name2,
                    const Interrupted& interrupted, const Waiting& waiting, std::string* text);
  // Fills a free slot and sends it, unless the wait for room ends otherwise.
  End Submit(const RequestArgs& args, std::string_view name, std::string_view name2,
             const Interrupted& interrupted, const Waiting& waiting, uint32_t* index);
  // The slot in which an earlier frontend has made this call for the same request.
  bool TakeLeftCall(const RequestArgs& args, std::string_view name, std::string_view name2,
                    uint32_t* index);
  // Keeps the slot until this thread's request ends. False: there is no request to keep it for.
  bool KeepCall(uint32_t index);
  // Of this thread; nullptr: it serves none that leaves traces.
  RequestTrace* Trace() const;
  bool ReleaseQueued(uint64_t unique) const;
  // Whether this thread's request may keep the answer to its next call for a successor.
  bool MayKeepCall() const;
  // The end of this thread's request's time, 0: not set yet; nullptr: it serves none.
  int64_t* RequestEnd() const;
  // When a wait that begins now ends.
  int64_t WaitUntil() const;
  uint64_t Taken() const { return layout()->cursors.taken.load(std::memory_order_acquire); }
  // A wait is over in which `taken` should have moved on from there. `all_of_it`: it was as long as
  // a request may wait.
  void NoteTimeOver(uint64_t taken, bool all_of_it);
  End AwaitReply(RequestSlot* slot, const Interrupted& interrupted, const Waiting& waiting);
  // False: the answer has come after all.
  bool GiveUp(uint32_t index);
  template <typename Ready>
  End AwaitProgress(Ready ready, const Interrupted& interrupted, const Waiting& waiting);

  // lane_later.cc: what must be done and finds no room is done by a thread that has patience.
  using Work = std::function<void(const Interrupted&, const Waiting&)>;
  void Later(Work work);
  void DoLater();
  // How the wait for the gate ended.
  enum class Gate { kOpen, kTimeOver, kInterrupted };
  Gate AwaitGate(int64_t until_ns, const Interrupted& interrupted);
  void TakeOver();
  void Wake();  // if it sleeps
  void WakeBroker();
  void BumpProgress();
  std::atomic<uint64_t>& LastWrite(uint64_t inode);
  std::atomic<uint64_t>& LastTouch(uint64_t inode);

  std::unique_ptr<Segment> lane_;
  std::unique_ptr<Segment> arena_;
  int wake_fd_;
  uint32_t inode_uses_;
  uint64_t ring_bytes_;
  bool spins_;
  std::mutex mutex_;             // of the cursors below: several threads of one process produce
  uint64_t tail_ = 0;            // guarded by mutex_
  uint64_t arena_tail_ = 0;      // guarded by mutex_
  uint64_t free_slots_ = ~0ull;  // guarded by mutex_; bit: slot is free
  uint64_t abandoned_ = 0;       // guarded by mutex_; bit: nobody waits for its answer
  uint64_t left_ = 0;            // guarded by mutex_; bit: kept for a request made again
  bool slot_wanted_ = false;     // guarded by mutex_; a thread waits for a free slot
  RequestTraces traces_;
  // `taken` + 1 when it was found not to move for a moment, and for as long as a request may wait;
  // 0: never.
  std::atomic<uint64_t> absent_at_{0};
  std::atomic<uint64_t> silent_at_{0};
  std::mutex later_mutex_;
  std::condition_variable later_changed_;
  std::deque<Work> later_;           // guarded by later_mutex_
  std::thread later_thread_;         // guarded by later_mutex_; made when first needed
  std::atomic<bool> ending_{false};  // written under later_mutex_
  // By inode hash: place behind the last queued write. Stored under mutex_, read without.
  std::atomic<uint64_t> last_write_[256] = {};
  std::atomic<uint64_t> last_touch_[256] = {};  // apart, so that reads wait for writes only
};

}  // namespace airstore::shm
