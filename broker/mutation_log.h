// SPDX-License-Identifier: Apache-2.0
//
// MutationLog: every change of the session on its way to the gateway, in order.
//
// A mutation is admitted, applied locally, and appended here and to the session's journal before
// anybody hears of it. A sender coroutine gathers what has accumulated into one batch, gives it
// sequence numbers, which the journal has before the gateway, and sends it until the gateway has
// answered: a transport error is retried for ever with backoff, under the same numbers, so the
// gateway applies each mutation once, also when another broker goes on with what this one left.
// Content is not copied into the log: a "content" item is turned into a write when its batch is
// built, from the file as it is then.
//
// A file made and removed before anything of it was sent leaves no trace but its parent's times:
// compilers, editors and git make many of those.
//
// Threads: the event loop.
// Fails: a mutation that the gateway refuses is reported to whoever waits for it and to OnRefused.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "broker/gateway.h"
#include "broker/session_journal.h"

namespace airstore::broker {

enum class Settled {
  kForGood,
  kSendAgain,  // it is to be built once more, behind what is queued
  kMore,       // it was a part of the content, and the next one is to be built
};

// Turns the dirty content of an inode into a write, when its turn has come.
class ContentSource {
 public:
  virtual ~ContentSource() = default;
  // Stores blocks as needed and returns a mutation that holds a WriteOp; an op without extents and
  // size: nothing to send. Does not fail for the gateway's absence: it retries inside. What takes
  // long comes in parts: each is built when the one before is settled.
  virtual Task<Mutation> BuildWrite(uint64_t inode) = 0;
  // errno, when the write that was built last says nothing because the content could not be read.
  virtual int BuildError(uint64_t /*inode*/) const { return 0; }
  // What is sent of it may refer to what is in flight: it is built when that is settled.
  virtual bool BuildsOnPending(uint64_t inode) const = 0;
  // To build and send it may take longer than others should wait for what they have changed before.
  virtual bool TakesLong(uint64_t /*inode*/) const { return false; }
  // The write that was built last is a part, and not the last one.
  virtual bool HasMore(uint64_t inode) const = 0;
  // The other parts are not to be built: the next write begins anew.
  virtual void ForgetParts(uint64_t inode) = 0;
  // The write was applied (error 0) or refused.
  virtual Settled ContentSettled(uint64_t inode, int error) = 0;
  // The gateway's version that the content here is made of; 0: not known.
  virtual uint64_t ContentVersion(uint64_t inode) const = 0;
  // A change is to be made on that version only, also under a lease: the content here may be from
  // before the lease, and of another host's making there.
  virtual bool MustMatch(uint64_t inode) const = 0;
  // A creation, write or truncation was applied, which made this version. `matched`: it had to be
  // made on the version that we knew, and was.
  virtual void ContentApplied(uint64_t inode, uint64_t content_version, bool matched) = 0;
};

class MutationLog {
 public:
  // `subjects`: as appended.
  using OnRefused = std::function<void(const Mutation& mutation,
                                       const std::vector<uint64_t>& subjects, int error)>;
  // Reopens the session after the gateway forgot it; returns the last sequence it applied.
  using Reopen = std::function<Task<Result<uint64_t>>()>;

  MutationLog(boost::asio::any_io_executor executor, Tasks* tasks, Gateway* gateway,
              SessionJournal* journal, ContentSource* contents, OnRefused on_refused,
              Reopen reopen);

  void SetLimits(const SessionLimits& limits) { limits_ = limits; }
  // Goes on with what a journal says is pending. What had a number is sent under it again, content
  // excepted: its bytes have changed since, so its number goes to a change without effect, and who
  // calls appends the content again. Then Continue, when the gateway has told what it has.
  void Restore(const JournalState& state);
  // `last_applied`: of the gateway. Before Start; may be tried again when it fails.
  Result<void> Continue(uint64_t last_applied);
  // What is sent from now on was acknowledged under this lease; 0: none, then changes of content
  // are sent with the version they are made of, and the gateway refuses what would overwrite
  // another host's. So are those of content that must match (ContentSource::MustMatch).
  void SetLease(uint64_t id);
  bool under_lease() const { return lease_id_ != 0; }
  // The same of the lease of a zone, for changes that are about nothing else.
  void SetZoneLease(uint64_t zone, uint64_t id);
  // Changes wait for the gateway again; those that did not still go under it.
  void EndZoneLease(uint64_t zone);
  bool HoldsZone(uint64_t zone) const;
  // Where a change lies, as the tree is before it; 0: in several zones, or not known.
  using ZoneOf = std::function<uint64_t(const Mutation& mutation)>;
  using ZoneOfInode = std::function<uint64_t(uint64_t inode)>;
  void SetZones(ZoneOf of_mutation, ZoneOfInode of_content) {
    zone_of_ = std::move(of_mutation);
    zone_of_content_ = std::move(of_content);
  }
  // Of what was appended last; 0 also under the lease of all. REQUIRES: that was just now.
  uint64_t last_zone() const { return items_.back().zone; }
  // Called when the gateway says that a lease has ended. It does not say which: the log believes in
  // none any more that it has named.
  void OnLeaseLost(std::function<void()> on_lease_lost) {
    on_lease_lost_ = std::move(on_lease_lost);
  }
  // Called before numbers that were just given are sent: after a loss of power the journal must not
  // know less than the gateway.
  void SetMakeDurable(std::function<Task<void>()> make_durable) {
    make_durable_ = std::move(make_durable);
  }
  // What was appended is on stable storage, where that is wanted.
  Task<void> MakeDurable();
  // Starts the sender. Call once.
  void Start();

  // To be asked before anything is changed: ENOSPC when the journal could not take the mutation.
  Result<void> Admit() { return journal_->Admit(); }
  // `subjects`: the inodes whose fate the mutation decides; `parents`: the directories it changes;
  // `call`: what it comes from; `orphan`: the inode that has lost its last name, or 0.
  Ticket Append(Mutation mutation, std::vector<uint64_t> subjects, std::vector<uint64_t> parents,
                const CallPlace& call = {}, uint64_t orphan = 0);
  // Numbers for new inodes were granted.
  void NoteInodes(uint64_t first, uint64_t count) { journal_->Append(InodesRecord{first, count}); }
  void NoteWatch(const WatchRecord& record) { journal_->Append(record); }
  // Of an inode that has no name here. Were it to fail, they would only not outlive this process.
  void NoteXattrs(const XattrsRecord& record);
  // Queues the inode's content; one queued item serves all changes up to its batch.
  Ticket AppendContent(uint64_t inode);
  // Takes a queued content item back; false when none is queued.
  bool TakeContent(uint64_t inode);
  // The inode loses its last name. If its creation was not sent yet and nothing else refers to it,
  // forgets everything about it and records the parent's times: their ticket. 0: the caller is to
  // append the unlink.
  Ticket Elide(uint64_t inode, uint64_t parent, int64_t time_ns, const CallPlace& call = {});

  // Its content is queued or on its way.
  bool ContentPending(uint64_t inode) const;
  // Its write is being built or sent, and not settled: the gateway has what was before, or what
  // comes. Not so of one that the same batch has behind what is being built.
  bool ContentInFlight(uint64_t inode) const {
    const auto found = content_in_flight_.find(inode);
    return found != content_in_flight_.end() && found->second;
  }
  // Greatest unsettled ticket of the inode, 0 if nothing of it is pending.
  Ticket PendingOf(uint64_t inode) const;
  // Somebody learns how a change of it turned out.
  bool IsWaitedFor(uint64_t inode) const;
  // Monotonic time at which the oldest pending item of the inode was appended; 0: none.
  int64_t PendingSince(uint64_t inode) const;
  // Waits until everything up to the ticket is settled, without lingering; returns the errno of
  // what was refused for `inode` meanwhile, or 0.
  Task<int> WaitSettled(Ticket ticket, uint64_t inode);
  // Waits until everything up to the ticket is settled, whatever became of it; ETIMEDOUT.
  Task<Result<void>> WaitSettledBefore(int64_t deadline_ns, Ticket ticket);
  // Before a value of so many bytes is set: those that are unsent are in memory. Waits while they
  // are more than `most`; ENOSPC when that goes on for so long.
  Task<Result<void>> AdmitValue(size_t bytes, size_t most, int64_t patience_ns);
  // Waits until nothing of the inode is pending; says nothing of how it ended.
  Task<void> WaitIdle(uint64_t inode);
  // Waits until all that was appended before is settled.
  Task<void> Drain();
  // Likewise; false: it cannot go on, for it waits until another host gives back a lease.
  Task<bool> DrainUnlessHeldUp();
  // Sends what is queued without lingering.
  void Hurry();
  // Ends the sender; what is queued stays queued. Call before destruction.
  Task<void> Stop();

  size_t pending() const { return items_.size() + in_flight_; }
  Ticket settled() const { return settled_; }
  // Monotonic time at which the oldest pending item was appended; 0: none.
  int64_t oldest_ns() const;
  const std::string& last_error() const { return last_error_; }
  bool stalled() const { return stalled_; }

 private:
  struct Item {
    Ticket ticket = 0;
    Mutation mutation;
    std::vector<uint64_t> subjects = {};
    std::vector<uint64_t> parents = {};
    uint64_t content_inode = 0;  // != 0: a content item
    int64_t appended_ns = 0;
    size_t value_bytes = 0;  // as counted
    uint64_t zone = 0;       // where it was when it was appended; 0: several, or not known
  };
  using Items = std::list<Item>;
  struct Subject {
    std::list<Items::iterator> items;  // queued, not yet in a batch, oldest first
    size_t cuts = 0;                   // ... that change its size
    Items::iterator content;
    bool has_content = false;
    bool created_here = false;  // its creation is among the items
    bool pinned = false;        // a rename or link refers to it: do not elide
    Ticket last = 0;            // greatest unsettled ticket
    Ticket moved_to = 0;        // where content went that was taken back and queued again
    bool taken = false;         // its content was taken back
    int refused = 0;            // errno since the last wait
    int waiters = 0;
  };

  static bool IsCut(const Mutation& mutation);
  void CountValue(Item* item);
  Task<Result<void>> WaitBefore(int64_t deadline_ns, std::function<bool()> done);
  void Queue(MutationRecord record);
  // Queues content whose turn had come once more; who waits for it waits for that.
  void RequeueContent(uint64_t inode);
  Task<void> Send();
  Task<void> SendBatch();
  // The file whose content the mutation changes; 0: none.
  static uint64_t ContentOf(const Mutation& mutation);
  // The file whose last name it takes, and which must be as it is known; 0: none.
  static uint64_t RemovedBy(const Mutation& mutation);
  // A second change of a file's content with a precondition, or its end: it is made of what the
  // first one leaves, which only the answer tells. `content`: of the mutation, which may still have
  // to be built. `changed`: files of the run so far.
  bool EndsRun(uint64_t content, const Mutation& mutation, uint64_t lease,
               std::unordered_set<uint64_t>* changed) const;
  // Under which a change is sent that lies there.
  uint64_t LeaseOf(uint64_t zone) const;
  // What Restore found numbered.
  Task<void> SendRestored();
  // A part of a batch: mutations with consecutive numbers, and the items they are of.
  struct Part {
    std::shared_ptr<std::vector<Mutation>> mutations = std::make_shared<std::vector<Mutation>>();
    std::vector<size_t> item_of;     // by place in `mutations`
    std::vector<uint64_t> lease_of;  // ditto
  };
  // Sends all parts of a content but the last one, and what `part` holds before it. False: the rest
  // has been queued anew.
  Task<bool> SendContentParts(const std::vector<Item>& items, size_t at, Part* part, uint64_t lease,
                              Mutation* last);
  // Waits until the numbers are on record.
  Task<void> Record(BatchRecord record);
  // Numbers it on record, sends it and settles it.
  Task<void> SendPart(const std::vector<Item>& items, Part part);
  // `lease_of`: of each mutation.
  Task<std::vector<MutationResult>> ApplyUntilAnswered(std::shared_ptr<std::vector<Mutation>> batch,
                                                       std::vector<uint64_t> lease_of);
  void LeasesEnded(const std::vector<uint64_t>& named);
  // Without a lease: what was batched under one, in as many runs as that takes.
  Task<std::vector<MutationResult>> ApplyInRuns(std::shared_ptr<const std::vector<Mutation>> batch);
  void Renumber(std::vector<Mutation>* batch, uint64_t first);
  bool MustMatch(uint64_t inode) const;
  void NoteRemoval(Ticket ticket, const Mutation& mutation, bool must_match);
  // `lease_of`: of each mutation.
  void SetPreconditions(std::vector<Mutation>* batch, const std::vector<uint64_t>& lease_of) const;
  void SetPrecondition(Mutation* mutation) const;
  void TakeVersions(const std::vector<Mutation>& batch, const std::vector<MutationResult>& results);
  void Settle(const std::vector<Item>& items, const Part& part,
              const std::vector<MutationResult>& results);
  // Everything up to there is settled: on record.
  void NoteSettled(Ticket ticket, uint64_t sequence);
  // All of them are settled; `last_sequence`: the last number they had, 0: none.
  void Finish(const std::vector<Item>& items, uint64_t last_sequence);
  void Retire(const Item& item);
  // A change of the inode's size waits for the next batch.
  bool CutQueued(uint64_t inode) const;
  void Unindex(Items::iterator item);

  boost::asio::any_io_executor executor_;
  Tasks* tasks_;
  Gateway* gateway_;
  SessionJournal* journal_;
  ContentSource* contents_;
  OnRefused on_refused_;
  Reopen reopen_;
  std::function<void()> on_lease_lost_;
  std::function<Task<void>()> make_durable_;
  uint64_t lease_id_ = 0;
  struct ZoneLease {
    uint64_t id = 0;
    bool ending = false;
  };
  std::unordered_map<uint64_t, ZoneLease> zones_;
  ZoneOf zone_of_;
  ZoneOfInode zone_of_content_;
  SessionLimits limits_;

  Items items_;  // appended, not yet in a batch
  std::unordered_map<uint64_t, Subject> subjects_;
  std::unordered_map<uint64_t, Items::iterator> touches_;  // queued Touch by directory
  std::unordered_map<uint64_t, bool> content_in_flight_;  // of the batch; whether its turn has come
  std::vector<Item> restored_;                            // with their numbers
  // A file that loses its last name, until the gateway has answered. It may be forgotten here
  // before; changes of its content that are ahead of that go on.
  struct Removal {
    Ticket ticket = 0;
    uint64_t version = 0;     // as the gateway has it when it has taken what it has answered; or 0
    bool must_match = false;  // as in ContentSource
  };
  std::unordered_map<uint64_t, Removal> removals_;  // by inode
  size_t value_bytes_ = 0;                          // of attributes, queued and in flight
  int64_t values_full_ns_ = 0;
  size_t in_flight_ = 0;
  int64_t in_flight_since_ns_ = 0;
  Ticket next_ticket_ = 1;
  Ticket settled_ = 0;
  Ticket requeued_ = 0;  // the last one of content whose turn had come before
  BatchRecord sending_;  // numbers of what is in flight, as they were given
  uint64_t next_sequence_ = 1;
  std::pair<Ticket, uint64_t> noted_settled_ = {};
  bool urgent_ = false;
  bool stalled_ = false;
  int64_t held_up_ns_ = 0;  // since when another host's lease is in the way; 0: none is
  bool stopping_ = false;
  bool running_ = false;
  std::string last_error_;
  Event appended_;
  Event settled_event_;
  boost::asio::steady_timer linger_;
};

}  // namespace airstore::broker
