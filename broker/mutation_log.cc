// SPDX-License-Identifier: Apache-2.0
#include "broker/mutation_log.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <unordered_set>

#include "broker/clock.h"
#include "broker/deadline.h"
#include "shm/base/fault.h"
#include "shm/layout.h"

namespace airstore::broker {
namespace {

// Who is asked for a lease, and has changes that wait for another one's, gives it back after this.
constexpr int64_t kHeldUpNs = 2'000'000'000;

}  // namespace

MutationLog::MutationLog(boost::asio::any_io_executor executor, Tasks* tasks, Gateway* gateway,
                         SessionJournal* journal, ContentSource* contents, OnRefused on_refused,
                         Reopen reopen)
    : executor_(executor),
      tasks_(tasks),
      gateway_(gateway),
      journal_(journal),
      contents_(contents),
      on_refused_(std::move(on_refused)),
      reopen_(std::move(reopen)),
      appended_(executor),
      settled_event_(executor),
      linger_(executor) {}

void MutationLog::Start() {
  running_ = true;
  tasks_->Spawn(Send());
}

Task<void> MutationLog::MakeDurable() {
  if (make_durable_) co_await make_durable_();
}

Task<void> MutationLog::Stop() {
  stopping_ = true;
  Hurry();
  while (running_) co_await settled_event_.Wait();
}

Ticket MutationLog::Append(Mutation mutation, std::vector<uint64_t> subjects,
                           std::vector<uint64_t> parents, const CallPlace& call, uint64_t orphan) {
  MutationRecord record{.ticket = next_ticket_++,
                        .call = call,
                        .orphan = orphan,
                        .subjects = std::move(subjects),
                        .parents = std::move(parents),
                        .mutation = std::move(mutation)};
  Reach(FaultPoint::kTreeBeforeLog);
  // It was admitted. Were it to fail all the same, the change would only not outlive this process.
  if (auto written = journal_->Append(record); !written) {
    spdlog::error("a change is not on record: {}", written.error().ToString());
  }
  Reach(FaultPoint::kTreeAfterLog);
  // Under the lease of all nobody asks.
  const uint64_t zone = lease_id_ == 0 && zone_of_ ? zone_of_(record.mutation) : 0;
  if (const uint64_t removed = RemovedBy(record.mutation); removed != 0) {
    NoteRemoval(record.ticket, record.mutation, contents_->MustMatch(removed));
  }
  Queue(std::move(record));
  items_.back().zone = zone;
  appended_.NotifyAll();
  return items_.back().ticket;
}

void MutationLog::SetLease(uint64_t id) {
  lease_id_ = id;
  // It says nothing about what was done before.
  for (auto& [inode, removal] : removals_) removal.must_match = true;
}

void MutationLog::SetZoneLease(uint64_t zone, uint64_t id) {
  if (id == 0) {
    zones_.erase(zone);
  } else {
    zones_[zone] = {id, false};
    for (auto& [inode, removal] : removals_) removal.must_match = true;
  }
}

void MutationLog::EndZoneLease(uint64_t zone) {
  if (const auto found = zones_.find(zone); found != zones_.end()) found->second.ending = true;
}

bool MutationLog::HoldsZone(uint64_t zone) const {
  const auto found = zones_.find(zone);
  return found != zones_.end() && !found->second.ending;
}

uint64_t MutationLog::LeaseOf(uint64_t zone) const {
  if (lease_id_ != 0) return lease_id_;
  const auto found = zones_.find(zone);
  return found == zones_.end() ? 0 : found->second.id;
}

void MutationLog::LeasesEnded(const std::vector<uint64_t>& named) {
  const auto ended = [&](uint64_t id) {
    return std::find(named.begin(), named.end(), id) != named.end();
  };
  if (ended(lease_id_)) lease_id_ = 0;
  std::erase_if(zones_, [&](const auto& zone) { return ended(zone.second.id); });
  on_lease_lost_();
}

void MutationLog::NoteXattrs(const XattrsRecord& record) {
  if (auto written = journal_->Append(record); !written) {
    spdlog::error("attributes are not on record: {}", written.error().ToString());
  }
}

bool MutationLog::IsCut(const Mutation& mutation) {
  const auto* change = std::get_if<SetattrOp>(&mutation.op);
  return change != nullptr && change->size;
}

void MutationLog::CountValue(Item* item) {
  const auto* set = std::get_if<SetXattrOp>(&item->mutation.op);
  if (set == nullptr) return;
  item->value_bytes = set->value.size();
  value_bytes_ += item->value_bytes;
}

void MutationLog::Queue(MutationRecord record) {
  const auto& op = record.mutation.op;
  const bool creates = std::holds_alternative<CreateOp>(op);
  const bool pins = std::holds_alternative<RenameOp>(op) || std::holds_alternative<LinkOp>(op);
  const bool cuts = IsCut(record.mutation);
  items_.push_back(Item{.ticket = record.ticket,
                        .mutation = std::move(record.mutation),
                        .subjects = std::move(record.subjects),
                        .parents = std::move(record.parents),
                        .appended_ns = MonotonicNs()});
  const auto item = std::prev(items_.end());
  CountValue(&*item);
  for (uint64_t inode : item->subjects) {
    Subject& subject = subjects_[inode];
    subject.items.push_back(item);
    if (cuts) ++subject.cuts;
    subject.created_here |= creates;
    subject.pinned |= pins;
    subject.last = item->ticket;
  }
  for (uint64_t parent : item->parents) subjects_[parent].last = item->ticket;
}

void MutationLog::Restore(const JournalState& state) {
  next_ticket_ = state.next_ticket;
  settled_ = state.next_ticket - 1;
  if (!state.pending.empty()) settled_ = state.pending.begin()->first - 1;
  std::unordered_set<Ticket> numbered;
  for (const auto& [sequence, entry] : state.numbered) {
    Item item{.ticket = entry.ticket,
              .mutation = {.time_ns = RealtimeNs(), .op = TouchOp{shm::kRootInode}}};
    if (const auto found = state.pending.find(entry.ticket);
        entry.content_inode == 0 && found != state.pending.end()) {
      item.mutation = found->second.mutation;
      item.subjects = found->second.subjects;
      item.parents = found->second.parents;
    } else if (entry.content_inode != 0) {
      item.mutation.op = TouchOp{entry.content_inode};
    }
    item.mutation.sequence = sequence;
    CountValue(&item);
    item.appended_ns = MonotonicNs();
    for (uint64_t inode : item.subjects) subjects_[inode].last = item.ticket;
    for (uint64_t parent : item.parents) subjects_[parent].last = item.ticket;
    // Of content there is nothing else on record.
    if (entry.ticket != 0) settled_ = std::min(settled_, entry.ticket - 1);
    numbered.insert(entry.ticket);
    restored_.push_back(std::move(item));
  }
  for (const auto& [ticket, record] : state.pending) {
    NoteRemoval(ticket, record.mutation, true);
    if (!numbered.contains(ticket)) Queue(record);
  }
  in_flight_ = restored_.size();
  in_flight_since_ns_ = MonotonicNs();
  next_sequence_ = state.next_sequence;
}

Result<void> MutationLog::Continue(uint64_t last_applied) {
  const uint64_t first = restored_.empty() ? next_sequence_ : restored_[0].mutation.sequence;
  next_sequence_ = std::max(next_sequence_, last_applied + 1);
  if (last_applied + 1 < first) {
    // The gateway has forgotten the session, or is one of before: it takes no numbers but the next.
    spdlog::warn("the gateway knows {} changes of this session, not {}; numbering anew",
                 last_applied, first - 1);
    next_sequence_ = last_applied + 1;
    BatchRecord batch{.first_sequence = next_sequence_, .entries = {}};
    for (Item& item : restored_) {
      item.mutation.sequence = next_sequence_++;
      batch.entries.push_back({.ticket = item.ticket, .content_inode = item.content_inode});
    }
    AIRSTORE_TRY(journal_->Append(batch));
  }
  return {};
}

Ticket MutationLog::AppendContent(uint64_t inode) {
  Subject& subject = subjects_[inode];
  if (subject.has_content) return subject.content->ticket;
  items_.push_back(Item{.ticket = next_ticket_++,
                        .mutation = {},
                        .subjects = {inode},
                        .content_inode = inode,
                        .appended_ns = MonotonicNs(),
                        .zone = lease_id_ == 0 && zone_of_content_ ? zone_of_content_(inode) : 0});
  const auto item = std::prev(items_.end());
  subject.items.push_back(item);
  subject.content = item;
  subject.has_content = true;
  subject.last = item->ticket;
  if (std::exchange(subject.taken, false)) subject.moved_to = requeued_ = item->ticket;
  appended_.NotifyAll();
  return item->ticket;
}

void MutationLog::RequeueContent(uint64_t inode) {
  content_in_flight_.erase(inode);
  const Ticket ticket = AppendContent(inode);
  Subject& subject = subjects_[inode];
  subject.taken = false;
  subject.moved_to = requeued_ = ticket;
}

bool MutationLog::TakeContent(uint64_t inode) {
  const auto found = subjects_.find(inode);
  if (found == subjects_.end() || !found->second.has_content) return false;
  Subject& subject = found->second;
  const Items::iterator item = subject.content;
  // What was queued last is at the end.
  const auto place = std::find(subject.items.rbegin(), subject.items.rend(), item);
  if (place != subject.items.rend()) subject.items.erase(std::next(place).base());
  subject.has_content = false;
  subject.taken = true;
  items_.erase(item);
  return true;
}

Ticket MutationLog::Elide(uint64_t inode, uint64_t parent, int64_t time_ns, const CallPlace& call) {
  const auto found = subjects_.find(inode);
  if (found == subjects_.end()) return 0;
  Subject& subject = found->second;
  if (!subject.created_here || subject.pinned || subject.waiters > 0) return 0;
  ElidedRecord record{.inode = inode, .dropped = {}};
  for (const Items::iterator& item : subject.items) {
    record.dropped.push_back(item->ticket);
    value_bytes_ -= item->value_bytes;
    items_.erase(item);
  }
  subjects_.erase(found);

  // Anew, so that its ticket is behind that of the creation: the parent waits for no other.
  const auto touch = touches_.find(parent);
  if (touch != touches_.end()) {
    record.dropped.push_back(touch->second->ticket);
    items_.erase(touch->second);
  }
  // The times come first: they tell a successor, should we die here, what became of the name.
  const Ticket ticket =
      Append(Mutation{.time_ns = time_ns, .op = TouchOp{parent}}, {}, {parent}, call, inode);
  touches_[parent] = std::prev(items_.end());
  journal_->Append(record);
  return ticket;
}

bool MutationLog::ContentPending(uint64_t inode) const {
  const auto found = subjects_.find(inode);
  return (found != subjects_.end() && found->second.has_content) ||
         content_in_flight_.contains(inode);
}

Ticket MutationLog::PendingOf(uint64_t inode) const {
  const auto found = subjects_.find(inode);
  // Who has waited for it may not have come to know yet, and keeps it in the table.
  return found == subjects_.end() || found->second.last <= settled_ ? 0 : found->second.last;
}

bool MutationLog::IsWaitedFor(uint64_t inode) const {
  const auto found = subjects_.find(inode);
  return found != subjects_.end() && found->second.waiters != 0;
}

int64_t MutationLog::PendingSince(uint64_t inode) const {
  const auto found = subjects_.find(inode);
  if (found == subjects_.end() || found->second.last <= settled_) return 0;
  if (found->second.items.empty()) return in_flight_since_ns_;
  return found->second.items.front()->appended_ns;
}

Task<int> MutationLog::WaitSettled(Ticket ticket, uint64_t inode) {
  ++subjects_[inode].waiters;
  // Content that was waited for may have moved behind other changes meanwhile.
  while (settled_ < std::max(ticket, subjects_[inode].moved_to) && pending() > 0) {
    Hurry();
    co_await settled_event_.Wait();
  }
  Subject& subject = subjects_[inode];
  const int refused = subject.refused;
  if (--subject.waiters == 0) {
    subject.refused = 0;
    if (subject.items.empty() && (subject.last <= settled_ || pending() == 0)) {
      subjects_.erase(inode);
    }
  }
  co_return refused;
}

Task<Result<void>> MutationLog::WaitSettledBefore(int64_t deadline_ns, Ticket ticket) {
  co_return co_await WaitBefore(deadline_ns, [this, ticket] { return settled_ >= ticket; });
}

Task<Result<void>> MutationLog::AdmitValue(size_t bytes, size_t most, int64_t patience_ns) {
  const auto fits = [this, bytes, most] { return value_bytes_ + bytes <= most; };
  if (!fits()) {
    if (values_full_ns_ == 0) values_full_ns_ = MonotonicNs();
    auto waited = co_await WaitBefore(values_full_ns_ + patience_ns, fits);
    if (!waited) co_return Error{ENOSPC, "too many attributes wait for the gateway"};
  }
  values_full_ns_ = 0;
  co_return Result<void>{};
}

Task<Result<void>> MutationLog::WaitBefore(int64_t deadline_ns, std::function<bool()> done) {
  auto wait = [](MutationLog* self, int64_t until_ns,
                 std::function<bool()> enough) -> Task<Result<void>> {
    while (!enough() && self->pending() > 0) {
      if (MonotonicNs() >= until_ns) co_return Error{ETIMEDOUT, "the gateway does not answer"};
      self->Hurry();
      co_await self->settled_event_.Wait();
    }
    co_return Result<void>{};
  };
  auto waited =
      co_await Before(deadline_ns, tasks_, executor_, wait(this, deadline_ns, std::move(done)));
  // Nobody waits for that one any more, so it ends too.
  if (!waited) settled_event_.NotifyAll();
  co_return waited;
}

Task<void> MutationLog::WaitIdle(uint64_t inode) {
  while (PendingOf(inode) != 0 && pending() > 0) {
    Hurry();
    co_await settled_event_.Wait();
  }
}

Task<void> MutationLog::Drain() {
  const Ticket last = next_ticket_ - 1;
  while (settled_ < std::max(last, requeued_) && pending() > 0) {
    Hurry();
    co_await settled_event_.Wait();
  }
}

Task<bool> MutationLog::DrainUnlessHeldUp() {
  const Ticket last = next_ticket_ - 1;
  while (settled_ < std::max(last, requeued_) && pending() > 0) {
    if (held_up_ns_ != 0 && MonotonicNs() - held_up_ns_ > kHeldUpNs) co_return false;
    Hurry();
    co_await settled_event_.Wait();
  }
  co_return true;
}

int64_t MutationLog::oldest_ns() const {
  if (in_flight_ > 0) return in_flight_since_ns_;
  return items_.empty() ? 0 : items_.front().appended_ns;
}

void MutationLog::Hurry() {
  urgent_ = true;
  linger_.cancel();
  appended_.NotifyAll();
}

}  // namespace airstore::broker
