// SPDX-License-Identifier: Apache-2.0
#include "broker/mutation_log.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <unordered_set>

#include "broker/backoff.h"
#include "broker/clock.h"
#include "broker/deadline.h"
#include "shm/base/fault.h"
#include "shm/layout.h"

namespace airstore::broker {
namespace {

// How long an append waits for company. Long enough for a burst (unpacking, a build's temporary
// files) to become one batch, short enough that nobody notices.
constexpr auto kLinger = std::chrono::milliseconds(10);
constexpr size_t kContentItemBytes = 64u << 10;  // guess for batch sizing before the write is built

// The file whose content the mutation changes; 0: none.
uint64_t ContentOf(const Mutation& mutation) {
  if (const auto* write = std::get_if<WriteOp>(&mutation.op)) return write->inode;
  const auto* setattr = std::get_if<SetattrOp>(&mutation.op);
  return setattr != nullptr && setattr->size ? setattr->inode : 0;
}

size_t InlineBytes(const WriteOp& op) {
  size_t bytes = 0;
  for (const WriteExtent& extent : op.extents) {
    if (const auto* data = std::get_if<std::string>(&extent.source)) bytes += data->size();
  }
  return bytes;
}

size_t AttributeBytes(const Mutation& mutation) {
  if (const auto* set = std::get_if<SetXattrOp>(&mutation.op)) return set->value.size();
  size_t bytes = 0;
  if (const auto* create = std::get_if<CreateOp>(&mutation.op)) {
    for (const auto& [name, value] : create->xattrs) bytes += value.size();
  }
  return bytes;
}

// There is no workspace any more.
std::vector<MutationResult> AllRefused(const std::vector<Mutation>& batch, int error) {
  std::vector<MutationResult> results;
  for (const Mutation& mutation : batch) {
    results.push_back({.sequence = mutation.sequence, .error = error});
  }
  return results;
}

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
  Queue(std::move(record));
  appended_.NotifyAll();
  return items_.back().ticket;
}

void MutationLog::NoteXattrs(const XattrsRecord& record) {
  if (auto written = journal_->Append(record); !written) {
    spdlog::error("attributes are not on record: {}", written.error().ToString());
  }
}

void MutationLog::Queue(MutationRecord record) {
  const auto& op = record.mutation.op;
  const bool creates = std::holds_alternative<CreateOp>(op);
  const bool pins = std::holds_alternative<RenameOp>(op) || std::holds_alternative<LinkOp>(op);
  items_.push_back(Item{.ticket = record.ticket,
                        .mutation = std::move(record.mutation),
                        .subjects = std::move(record.subjects),
                        .parents = std::move(record.parents),
                        .appended_ns = MonotonicNs()});
  const auto item = std::prev(items_.end());
  for (uint64_t inode : item->subjects) {
    Subject& subject = subjects_[inode];
    subject.items.push_back(item);
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
    item.appended_ns = MonotonicNs();
    for (uint64_t inode : item.subjects) subjects_[inode].last = item.ticket;
    for (uint64_t parent : item.parents) subjects_[parent].last = item.ticket;
    numbered.insert(entry.ticket);
    restored_.push_back(std::move(item));
  }
  for (const auto& [ticket, record] : state.pending) {
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
                        .appended_ns = MonotonicNs()});
  const auto item = std::prev(items_.end());
  subject.items.push_back(item);
  subject.content = item;
  subject.has_content = true;
  subject.last = item->ticket;
  if (std::exchange(subject.taken, false)) subject.moved_to = item->ticket;
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
  std::erase(subject.items, item);
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
  auto settle = [](MutationLog* self, Ticket until) -> Task<Result<void>> {
    while (self->settled_ < until && self->pending() > 0) {
      self->Hurry();
      co_await self->settled_event_.Wait();
    }
    co_return Result<void>{};
  };
  co_return co_await Before(deadline_ns, tasks_, executor_, settle(this, ticket));
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

int64_t MutationLog::oldest_ns() const {
  if (in_flight_ > 0) return in_flight_since_ns_;
  return items_.empty() ? 0 : items_.front().appended_ns;
}

void MutationLog::Hurry() {
  urgent_ = true;
  linger_.cancel();
  appended_.NotifyAll();
}

Task<void> MutationLog::Send() {
  if (!restored_.empty()) co_await SendRestored();
  while (!stopping_) {
    if (items_.empty()) {
      co_await appended_.Wait();
      continue;
    }
    if (!urgent_) {
      linger_.expires_after(kLinger);
      boost::system::error_code ignored;
      co_await linger_.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
    }
    urgent_ = false;
    if (!items_.empty() && !stopping_) co_await SendBatch();
  }
  running_ = false;
  settled_event_.NotifyAll();
}

bool MutationLog::CutQueued(uint64_t inode) const {
  const auto found = subjects_.find(inode);
  if (found == subjects_.end()) return false;
  return std::any_of(found->second.items.begin(), found->second.items.end(),
                     [](const Items::iterator& item) {
                       const auto* change = std::get_if<SetattrOp>(&item->mutation.op);
                       return item->content_inode == 0 && change != nullptr && change->size;
                     });
}

Task<void> MutationLog::SendBatch() {
  const uint64_t lease_id = lease_id_;
  std::vector<Item> items;
  std::unordered_set<uint64_t> changed;
  size_t bytes = 0;
  while (!items_.empty() && items.size() < limits_.max_batch_mutations &&
         bytes < limits_.max_batch_bytes / 2) {
    const auto front = items_.begin();
    const uint64_t content =
        front->content_inode != 0 ? front->content_inode : ContentOf(front->mutation);
    // The second change of a file's content is made of what the first one leaves, which only the
    // answer tells.
    if (content != 0 && (lease_id == 0 || contents_->MustMatch(content)) &&
        !changed.insert(content).second) {
      break;
    }
    bytes += front->content_inode != 0 ? kContentItemBytes : AttributeBytes(front->mutation);
    Unindex(front);
    items.push_back(std::move(*front));
    items_.pop_front();
  }
  in_flight_ = items.size();
  in_flight_since_ns_ = items.front().appended_ns;
  for (const Item& item : items) {
    if (item.content_inode != 0) content_in_flight_.insert(item.content_inode);
  }

  bool sent = false;
  Part part;
  size_t inline_bytes = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    Mutation mutation = std::move(items[i].mutation);
    const uint64_t content_inode = items[i].content_inode;
    if (content_inode != 0) {
      if (CutQueued(content_inode)) {
        // What is in the file by now belongs behind that cut.
        RequeueContent(content_inode);
        continue;
      }
      if (!part.mutations->empty() && contents_->BuildsOnPending(content_inode)) {
        Part earlier = std::exchange(part, Part());
        co_await SendPart(items, std::move(earlier), lease_id);
        inline_bytes = 0;
      }
      mutation = co_await contents_->BuildWrite(content_inode);
      if (contents_->HasMore(content_inode)) {
        const bool whole = co_await SendContentParts(items, i, &part, lease_id, &mutation);
        inline_bytes = 0;
        sent = true;
        if (!whole) continue;
      }
      const WriteOp& write = std::get<WriteOp>(mutation.op);
      if (write.extents.empty() && !write.size) {
        content_in_flight_.erase(content_inode);
        (void)contents_->ContentSettled(content_inode, 0);
        continue;
      }
      inline_bytes += InlineBytes(write);
    }
    mutation.sequence = next_sequence_++;
    sent = true;
    part.mutations->push_back(std::move(mutation));
    part.item_of.push_back(i);
    // A batch that grew too long is sent in parts; order is kept.
    if (inline_bytes > limits_.max_batch_bytes / 2 && i + 1 < items.size()) {
      Part full = std::exchange(part, Part());
      co_await SendPart(items, std::move(full), lease_id);
      inline_bytes = 0;
    }
  }
  if (!part.mutations->empty()) co_await SendPart(items, std::move(part), lease_id);
  Finish(items, sent ? next_sequence_ - 1 : 0);
}

Task<bool> MutationLog::SendContentParts(const std::vector<Item>& items, size_t at, Part* part,
                                         uint64_t lease_id, Mutation* last) {
  const uint64_t inode = items[at].content_inode;
  while (contents_->HasMore(inode)) {
    Part next = std::exchange(*part, Part());
    last->sequence = next_sequence_++;
    next.mutations->push_back(std::move(*last));
    next.item_of.push_back(at);
    co_await SendPart(items, std::move(next), lease_id);
    // Refused, or queued anew by Settle.
    if (!content_in_flight_.contains(inode)) co_return false;
    if (stopping_ || CutQueued(inode)) {
      contents_->ForgetParts(inode);
      RequeueContent(inode);
      co_return false;
    }
    *last = co_await contents_->BuildWrite(inode);
  }
  co_return true;
}

Task<void> MutationLog::SendRestored() {
  co_await MakeDurable();
  const std::vector<Item> items = std::move(restored_);
  Part part;
  sending_ = {.first_sequence = items.front().mutation.sequence, .entries = {}};
  for (size_t i = 0; i < items.size(); ++i) {
    part.mutations->push_back(items[i].mutation);
    part.item_of.push_back(i);
    sending_.entries.push_back(
        {.ticket = items[i].ticket, .content_inode = items[i].content_inode});
  }
  const auto results = co_await ApplyUntilAnswered(part.mutations, lease_id_);
  Settle(items, part, results);
  Finish(items, part.mutations->back().sequence);
}

// The gateway has forgotten the session, or is one of before: it takes no number but the next.
void MutationLog::Renumber(std::vector<Mutation>* batch, uint64_t first) {
  BatchRecord record{.first_sequence = first, .entries = {}};
  for (const Mutation& mutation : *batch) {
    const uint64_t at = mutation.sequence - sending_.first_sequence;
    if (at >= sending_.entries.size()) return;
    record.entries.push_back(sending_.entries[at]);
  }
  spdlog::warn("the gateway expects change {} of this session, not {}; numbering anew", first,
               batch->front().sequence);
  if (auto written = journal_->Append(record); !written) {
    last_error_ = "journal: " + written.error().ToString();
    return;
  }
  next_sequence_ = first;
  for (Mutation& mutation : *batch) mutation.sequence = next_sequence_++;
  if (record.entries.size() == sending_.entries.size()) sending_ = std::move(record);
}

Task<void> MutationLog::SendPart(const std::vector<Item>& items, Part part, uint64_t lease_id) {
  BatchRecord record{.first_sequence = part.mutations->front().sequence, .entries = {}};
  for (const size_t i : part.item_of) {
    record.entries.push_back({.ticket = items[i].ticket, .content_inode = items[i].content_inode});
  }
  Reach(FaultPoint::kLogBeforeNumber);
  Backoff backoff;
  for (;;) {
    auto written = journal_->Append(record);
    if (written) break;
    // Unknown numbers must not reach the gateway: a successor would give them to other changes.
    last_error_ = "journal: " + written.error().ToString();
    co_await backoff.Wait(executor_);
  }
  Reach(FaultPoint::kLogAfterNumber);
  sending_ = std::move(record);
  co_await MakeDurable();
  const auto results = co_await ApplyUntilAnswered(part.mutations, lease_id);
  Settle(items, part, results);
}

void MutationLog::Finish(const std::vector<Item>& items, uint64_t last_sequence) {
  Reach(FaultPoint::kLogBeforeSettle);
  if (last_sequence != 0) {
    journal_->Append(SettledRecord{.ticket = items.back().ticket, .sequence = last_sequence});
  }
  Reach(FaultPoint::kLogAfterSettle);
  for (const Item& item : items) Retire(item);
  settled_ = items.back().ticket;
  in_flight_ = 0;
  settled_event_.NotifyAll();
}

Task<std::vector<MutationResult>> MutationLog::ApplyUntilAnswered(
    std::shared_ptr<std::vector<Mutation>> batch, uint64_t lease_id) {
  for (Mutation& mutation : *batch) {
    if (lease_id == 0 || contents_->MustMatch(ContentOf(mutation))) SetPrecondition(&mutation);
  }
  Backoff backoff;
  for (;;) {
    auto answer = co_await gateway_->Apply(batch, lease_id);
    Reach(FaultPoint::kLogBatchAnswered);
    if (answer && answer->size() == batch->size()) {
      stalled_ = false;
      last_error_.clear();
      TakeVersions(*batch, *answer);
      co_return std::move(*answer);
    }
    if (!answer && answer.error().code == EKEYEXPIRED) {
      spdlog::warn("the write lease has ended: sending {} changes without it", batch->size());
      if (lease_id_ == lease_id) {
        lease_id_ = 0;
        on_lease_lost_();
      }
      co_return co_await ApplyEach(batch);
    }
    const Error error =
        answer ? Error{EPROTO, "the gateway answered another number of results"} : answer.error();
    last_error_ = error.ToString();
    stalled_ = true;
    spdlog::warn("sending {} changes failed, will retry: {}", batch->size(), last_error_);
    if (error.code == ESTALE) {
      const auto reopened = co_await reopen_();
      if (!reopened && reopened.error().code == ENOENT) co_return AllRefused(*batch, ESTALE);
      if (reopened && *reopened + 1 < batch->front().sequence) {
        Renumber(batch.get(), *reopened + 1);
      }
    }
    co_await backoff.Wait(executor_);
  }
}

Task<std::vector<MutationResult>> MutationLog::ApplyEach(
    std::shared_ptr<const std::vector<Mutation>> batch) {
  std::vector<MutationResult> results;
  for (const Mutation& mutation : *batch) {
    auto single = std::make_shared<std::vector<Mutation>>(1, mutation);
    const auto result = co_await ApplyUntilAnswered(single, 0);
    results.push_back(result.front());
  }
  co_return results;
}

void MutationLog::SetPrecondition(Mutation* mutation) const {
  const uint64_t inode = ContentOf(*mutation);
  if (inode == 0) return;
  const uint64_t version = contents_->ContentVersion(inode);
  mutation->if_inode = version == 0 ? 0 : inode;
  mutation->if_content_version = version;
}

void MutationLog::TakeVersions(const std::vector<Mutation>& batch,
                               const std::vector<MutationResult>& results) {
  for (size_t i = 0; i < results.size(); ++i) {
    if (results[i].error != 0 || results[i].content_version == 0) continue;
    const auto* create = std::get_if<CreateOp>(&batch[i].op);
    const auto* touch = std::get_if<TouchOp>(&batch[i].op);
    // A touch that tells a version stands for content, which had been applied: see Restore.
    const uint64_t inode = create != nullptr  ? create->inode
                           : touch != nullptr ? touch->inode
                                              : ContentOf(batch[i]);
    contents_->ContentApplied(inode, results[i].content_version);
  }
}

void MutationLog::Settle(const std::vector<Item>& items, const Part& part,
                         const std::vector<MutationResult>& results) {
  for (size_t i = 0; i < results.size(); ++i) {
    const Item& item = items[part.item_of[i]];
    const Mutation& mutation = (*part.mutations)[i];
    const int error = results[i].error;
    if (item.content_inode != 0) {
      const Settled settled = contents_->ContentSettled(item.content_inode, error);
      if (settled == Settled::kMore) continue;
      content_in_flight_.erase(item.content_inode);
      if (settled == Settled::kSendAgain) {
        RequeueContent(item.content_inode);
        continue;
      }
    }
    // A directory that is not there has no times either.
    if (error == 0 || std::holds_alternative<TouchOp>(mutation.op)) continue;
    for (uint64_t inode : item.subjects) subjects_[inode].refused = error;
    on_refused_(mutation, error);
  }
}

void MutationLog::Retire(const Item& item) {
  const auto retire = [&](uint64_t inode) {
    const auto found = subjects_.find(inode);
    if (found == subjects_.end()) return;
    const Subject& subject = found->second;
    if (subject.items.empty() && subject.waiters == 0 && subject.last <= item.ticket) {
      subjects_.erase(found);
    }
  };
  for (uint64_t inode : item.subjects) retire(inode);
  for (uint64_t parent : item.parents) retire(parent);
}

void MutationLog::Unindex(Items::iterator item) {
  for (uint64_t inode : item->subjects) {
    Subject& subject = subjects_[inode];
    std::erase(subject.items, item);
    if (subject.has_content && subject.content == item) subject.has_content = false;
    subject.created_here = false;  // from now on the gateway may know it
  }
  for (uint64_t parent : item->parents) {
    const auto touch = touches_.find(parent);
    if (touch != touches_.end() && touch->second == item) touches_.erase(touch);
  }
}

}  // namespace airstore::broker
