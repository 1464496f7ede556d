// SPDX-License-Identifier: Apache-2.0
//
// The sender: from what is queued to batches with numbers, and what their answers settle.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <set>
#include <unordered_set>

#include "broker/backoff.h"
#include "broker/clock.h"
#include "broker/mutation_log.h"
#include "shm/base/fault.h"
#include "shm/layout.h"

namespace airstore::broker {
namespace {

// How long an append waits for company. Long enough for a burst (unpacking, a build's temporary
// files) to become one batch, and for what a batch costs three processes not to compete with the
// burst; short enough that nobody notices.
constexpr auto kLinger = std::chrono::milliseconds(25);
constexpr size_t kContentItemBytes = 64u << 10;  // guess for batch sizing before the write is built

// How long a write may wait for those that are built behind it: the blocks that it refers to are
// collected at some time.
constexpr int64_t kTimeOfABatchNs = 60'000'000'000;

// About what it takes on the wire: a batch that is too long for a message never arrives.
size_t WireBytes(const Mutation& mutation) {
  constexpr size_t kHead = 128;
  constexpr size_t kExtent = 64;
  struct Sum {
    size_t operator()(const CreateOp& op) const {
      size_t bytes = op.name.size() + op.symlink_target.size();
      for (const auto& [name, value] : op.xattrs) bytes += name.size() + value.size();
      return bytes;
    }
    size_t operator()(const LinkOp& op) const { return op.name.size(); }
    size_t operator()(const UnlinkOp& op) const { return op.name.size(); }
    size_t operator()(const RenameOp& op) const { return op.old_name.size() + op.new_name.size(); }
    size_t operator()(const SetattrOp&) const { return 0; }
    size_t operator()(const WriteOp& op) const {
      size_t bytes = op.extents.size() * kExtent;
      for (const WriteExtent& extent : op.extents) {
        if (const auto* data = std::get_if<std::string>(&extent.source)) bytes += data->size();
      }
      return bytes;
    }
    size_t operator()(const TouchOp&) const { return 0; }
    size_t operator()(const SetXattrOp& op) const { return op.name.size() + op.value.size(); }
    size_t operator()(const RemoveXattrOp& op) const { return op.name.size(); }
  };
  return kHead + std::visit(Sum{}, mutation.op);
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
  return found != subjects_.end() && found->second.cuts != 0;
}

Task<void> MutationLog::SendBatch() {
  std::vector<Item> items;
  std::vector<uint64_t> lease_of;
  std::unordered_set<uint64_t> changed;
  bool changes = false;
  size_t bytes = 0;
  while (!items_.empty() && items.size() < limits_.max_batch_mutations &&
         bytes < limits_.max_batch_bytes / 2) {
    const auto front = items_.begin();
    const uint64_t content =
        front->content_inode != 0 ? front->content_inode : ContentOf(front->mutation);
    const uint64_t lease = LeaseOf(front->zone);
    if (EndsRun(content, front->mutation, lease, &changed)) break;
    // Who has made what comes before it is answered when the batch is.
    if (front->content_inode != 0 && changes && contents_->TakesLong(content)) break;
    changes = changes || front->content_inode == 0;
    lease_of.push_back(lease);
    bytes += front->content_inode != 0 ? kContentItemBytes : WireBytes(front->mutation);
    Unindex(front);
    items.push_back(std::move(*front));
    items_.pop_front();
  }
  in_flight_ = items.size();
  in_flight_since_ns_ = items.front().appended_ns;
  for (const Item& item : items) {
    if (item.content_inode != 0) content_in_flight_[item.content_inode] = false;
  }

  bool sent = false;
  Part part;
  int64_t part_since_ns = 0;
  size_t part_bytes = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    Mutation mutation = std::move(items[i].mutation);
    const uint64_t content_inode = items[i].content_inode;
    if (content_inode != 0) {
      if (!part.mutations->empty() && contents_->BuildsOnPending(content_inode)) {
        Part earlier = std::exchange(part, Part());
        co_await SendPart(items, std::move(earlier));
        part_bytes = 0;
      }
      // Nothing waits from here until the file is read.
      if (CutQueued(content_inode)) {
        // What is in the file by now belongs behind that cut.
        RequeueContent(content_inode);
        continue;
      }
      content_in_flight_[content_inode] = true;
      mutation = co_await contents_->BuildWrite(content_inode);
      if (contents_->HasMore(content_inode)) {
        const bool whole = co_await SendContentParts(items, i, &part, lease_of[i], &mutation);
        part_bytes = 0;
        sent = true;
        if (!whole) continue;
      }
      const WriteOp& write = std::get<WriteOp>(mutation.op);
      if (write.extents.empty() && !write.size) {
        content_in_flight_.erase(content_inode);
        const int unread = contents_->BuildError(content_inode);
        if (unread != 0) subjects_[content_inode].refused = unread;
        (void)contents_->ContentSettled(content_inode, 0);
        continue;
      }
    }
    part_bytes += WireBytes(mutation);
    mutation.sequence = next_sequence_++;
    sent = true;
    if (part.mutations->empty()) part_since_ns = MonotonicNs();
    part.mutations->push_back(std::move(mutation));
    part.item_of.push_back(i);
    part.lease_of.push_back(lease_of[i]);
    // A batch that grew too long, or takes long, is sent in parts; order is kept.
    const bool enough =
        part_bytes > limits_.max_batch_bytes / 2 || MonotonicNs() - part_since_ns > kTimeOfABatchNs;
    if (enough && i + 1 < items.size()) {
      Part full = std::exchange(part, Part());
      co_await SendPart(items, std::move(full));
      part_bytes = 0;
    }
  }
  if (!part.mutations->empty()) co_await SendPart(items, std::move(part));
  Finish(items, sent ? next_sequence_ - 1 : 0);
}

Task<bool> MutationLog::SendContentParts(const std::vector<Item>& items, size_t at, Part* part,
                                         uint64_t lease, Mutation* last) {
  const uint64_t inode = items[at].content_inode;
  while (contents_->HasMore(inode)) {
    Part next = std::exchange(*part, Part());
    last->sequence = next_sequence_++;
    next.mutations->push_back(std::move(*last));
    next.item_of.push_back(at);
    next.lease_of.push_back(lease);
    co_await SendPart(items, std::move(next));
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
  uint64_t last_sequence = 0;
  for (size_t begin = 0; begin < items.size();) {
    Part part;
    std::unordered_set<uint64_t> changed;
    size_t end = begin;
    size_t bytes = 0;
    for (; end < items.size() && end - begin < limits_.max_batch_mutations &&
           bytes < limits_.max_batch_bytes / 2;
         ++end) {
      const Mutation& mutation = items[end].mutation;
      if (EndsRun(ContentOf(mutation), mutation, lease_id_, &changed)) break;
      // It may stand for content, which may have been applied.
      if (const auto* touch = std::get_if<TouchOp>(&mutation.op)) changed.insert(touch->inode);
      bytes += WireBytes(items[end].mutation);
    }
    const uint64_t recorded = items[begin].mutation.sequence;
    sending_ = {.first_sequence = begin == 0 ? recorded : last_sequence + 1, .entries = {}};
    for (size_t i = begin; i < end; ++i) {
      part.mutations->push_back(items[i].mutation);
      part.mutations->back().sequence = sending_.first_sequence + (i - begin);
      part.item_of.push_back(i);
      sending_.entries.push_back(
          {.ticket = items[i].ticket, .content_inode = items[i].content_inode});
    }
    // The gateway had forgotten the session, and what came before was numbered anew.
    if (sending_.first_sequence != recorded) co_await Record(sending_);
    next_sequence_ = std::max(next_sequence_, part.mutations->back().sequence + 1);
    part.lease_of.assign(part.mutations->size(), lease_id_);
    const auto results = co_await ApplyUntilAnswered(part.mutations, part.lease_of);
    Settle(items, part, results);
    last_sequence = part.mutations->back().sequence;
    NoteSettled(items[end - 1].ticket, last_sequence);
    begin = end;
  }
  Finish(items, last_sequence);
}

// The gateway has forgotten the session, or is one of before: it takes no number but the next.
void MutationLog::Renumber(std::vector<Mutation>* batch, uint64_t first) {
  BatchRecord record{.first_sequence = first, .entries = {}};
  for (const Mutation& mutation : *batch) {
    const uint64_t at = mutation.sequence - sending_.first_sequence;
    if (at >= sending_.entries.size()) {
      spdlog::error("change {} is not among those that were numbered from {}: it keeps its number",
                    mutation.sequence, sending_.first_sequence);
      return;
    }
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

// Unknown numbers must not reach the gateway: a successor would give them to other changes.
Task<void> MutationLog::Record(BatchRecord record) {
  Backoff backoff;
  for (;;) {
    auto written = journal_->Append(record);
    if (written) co_return;
    last_error_ = "journal: " + written.error().ToString();
    co_await backoff.Wait(executor_);
  }
}

Task<void> MutationLog::SendPart(const std::vector<Item>& items, Part part) {
  BatchRecord record{.first_sequence = part.mutations->front().sequence, .entries = {}};
  for (const size_t i : part.item_of) {
    record.entries.push_back({.ticket = items[i].ticket, .content_inode = items[i].content_inode});
  }
  Reach(FaultPoint::kLogBeforeNumber);
  co_await Record(record);
  Reach(FaultPoint::kLogAfterNumber);
  sending_ = std::move(record);
  co_await MakeDurable();
  const auto results = co_await ApplyUntilAnswered(part.mutations, part.lease_of);
  Settle(items, part, results);
  // For a successor: one batch may go on for hours.
  NoteSettled(items[part.item_of.back()].ticket, part.mutations->back().sequence);
}

void MutationLog::NoteSettled(Ticket ticket, uint64_t sequence) {
  if (std::exchange(noted_settled_, {ticket, sequence}) == std::pair(ticket, sequence)) return;
  journal_->Append(SettledRecord{.ticket = ticket, .sequence = sequence});
}

void MutationLog::Finish(const std::vector<Item>& items, uint64_t last_sequence) {
  Reach(FaultPoint::kLogBeforeSettle);
  if (last_sequence != 0) NoteSettled(items.back().ticket, last_sequence);
  Reach(FaultPoint::kLogAfterSettle);
  for (const Item& item : items) {
    value_bytes_ -= item.value_bytes;
    Retire(item);
  }
  settled_ = items.back().ticket;
  in_flight_ = 0;
  settled_event_.NotifyAll();
}

Task<std::vector<MutationResult>> MutationLog::ApplyUntilAnswered(
    std::shared_ptr<std::vector<Mutation>> batch, std::vector<uint64_t> lease_of) {
  SetPreconditions(batch.get(), lease_of);
  const std::set<uint64_t> named(lease_of.begin(), lease_of.end());
  std::vector<uint64_t> leases;
  std::copy_if(named.begin(), named.end(), std::back_inserter(leases),
               [](uint64_t lease) { return lease != 0; });
  Backoff backoff;
  for (;;) {
    auto answer = co_await gateway_->Apply(batch, leases);
    Reach(FaultPoint::kLogBatchAnswered);
    if (answer || answer.error().code != EBUSY) {
      held_up_ns_ = 0;
    } else {
      if (held_up_ns_ == 0) held_up_ns_ = MonotonicNs();
      settled_event_.NotifyAll();  // for DrainUnlessHeldUp
    }
    if (answer && answer->size() == batch->size()) {
      stalled_ = false;
      last_error_.clear();
      TakeVersions(*batch, *answer);
      co_return std::move(*answer);
    }
    if (!answer && answer.error().code == EKEYEXPIRED) {
      spdlog::warn("a write lease has ended: sending {} changes without it", batch->size());
      LeasesEnded(leases);
      co_return co_await ApplyInRuns(batch);
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

Task<std::vector<MutationResult>> MutationLog::ApplyInRuns(
    std::shared_ptr<const std::vector<Mutation>> batch) {
  std::vector<MutationResult> results;
  while (results.size() < batch->size()) {
    auto run = std::make_shared<std::vector<Mutation>>();
    std::unordered_set<uint64_t> changed;
    for (size_t i = results.size(); i < batch->size(); ++i) {
      const Mutation& mutation = (*batch)[i];
      if (EndsRun(ContentOf(mutation), mutation, 0, &changed)) break;
      run->push_back(mutation);
    }
    const std::vector<uint64_t> none(run->size(), 0);
    const auto answer = co_await ApplyUntilAnswered(run, none);
    results.insert(results.end(), answer.begin(), answer.end());
  }
  co_return results;
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
    // A directory that is not there has no times either, and an attribute need not have been there.
    if (error == 0 || std::holds_alternative<TouchOp>(mutation.op)) continue;
    if (error == ENODATA && std::holds_alternative<RemoveXattrOp>(mutation.op)) continue;
    for (uint64_t inode : item.subjects) subjects_[inode].refused = error;
    on_refused_(mutation, item.subjects, error);
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
    // REQUIRES: it is the first of all.
    if (!subject.items.empty() && subject.items.front() == item) subject.items.pop_front();
    if (item->content_inode == 0 && IsCut(item->mutation)) --subject.cuts;
    if (subject.has_content && subject.content == item) subject.has_content = false;
    subject.created_here = false;  // from now on the gateway may know it
  }
  for (uint64_t parent : item->parents) {
    const auto touch = touches_.find(parent);
    if (touch != touches_.end() && touch->second == item) touches_.erase(touch);
  }
}

}  // namespace airstore::broker
