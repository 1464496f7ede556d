// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/watch_hub.h"

#include <algorithm>
#include <utility>

#include "tools/gateway/clock.h"

namespace airstore::gateway {

namespace {

size_t BytesOf(const ChangeSet& changes) {
  size_t bytes = 64 + changes.inodes.size() * sizeof(InodeNo);
  for (const ChangeSet::Name& name : changes.names) bytes += sizeof name + name.name.size();
  bytes += changes.only.size() * sizeof(SessionId);
  return bytes;
}

}  // namespace

WatchHub::WatchHub(size_t events_per_workspace, size_t bytes_per_workspace)
    : capacity_(events_per_workspace),
      capacity_bytes_(bytes_per_workspace),
      start_cursor_(static_cast<uint64_t>(WallClockNs() / 1000)) {}

WatchHub::Stream& WatchHub::StreamOf(WorkspaceKey ws) {
  auto [it, added] = streams_.try_emplace(ws);
  Stream& stream = it->second;
  if (added) {
    stream.last = start_cursor_;
    stream.forgotten = {start_cursor_, {}, start_cursor_, start_cursor_};
  }
  return stream;
}

void WatchHub::Stream::Forget() {
  const LoggedEvent& oldest = events.front();
  bytes -= oldest.bytes;
  forgotten.cursor = oldest.event.cursor;
  if (oldest.is_change()) {  // others are repeated, or asked for
    if (forgotten.newest_by != oldest.session) {
      forgotten.newest_by = oldest.session;
      forgotten.other = forgotten.newest;
    }
    forgotten.newest = forgotten.cursor;
  }
  events.pop_front();
}

uint64_t WatchHub::PublishChanges(WorkspaceKey ws, const SessionId& by, ChangeSet changes) {
  LoggedEvent stored;
  stored.bytes = BytesOf(changes);
  stored.event.changes = std::make_shared<const ChangeSet>(std::move(changes));
  stored.session = by;
  return Publish(ws, std::move(stored));
}

void WatchHub::PublishRecall(WorkspaceKey ws, const SessionId& to, uint64_t lease_id) {
  LoggedEvent stored;
  stored.event.lease_recall = lease_id;
  stored.session = to;
  Publish(ws, std::move(stored));
}

void WatchHub::PublishLockFreed(WorkspaceKey ws, const SessionId& to, InodeNo ino) {
  LoggedEvent stored;
  stored.event.lock_freed = ino;
  stored.session = to;
  Publish(ws, std::move(stored));
}

void WatchHub::PublishForget(WorkspaceKey ws, const SessionId& to, InodeNo zone) {
  LoggedEvent stored;
  stored.event.forget = zone;
  stored.session = to;
  Publish(ws, std::move(stored));
}

uint64_t WatchHub::PublishMark(WorkspaceKey ws, const SessionId& to) {
  LoggedEvent stored;
  stored.session = to;
  return Publish(ws, std::move(stored));
}

uint64_t WatchHub::Publish(WorkspaceKey ws, LoggedEvent stored) {
  uint64_t cursor = 0;
  std::vector<std::shared_ptr<Listener>> listeners;
  {
    std::lock_guard lock(mu_);
    Stream& stream = StreamOf(ws);
    stored.event.cursor = cursor = stream.last + 1;
    Keep(stream, std::move(stored));
    listeners = ListenersOf(ws);
  }
  for (const auto& listener : listeners) listener->Wake();
  return cursor;
}

void WatchHub::Keep(Stream& stream, LoggedEvent stored) {
  stream.last = stored.event.cursor;
  stream.bytes += stored.bytes;
  stream.events.push_back(std::move(stored));
  // The newest stays, however large.
  while (stream.events.size() > capacity_ ||
         (stream.bytes > capacity_bytes_ && stream.events.size() > 1)) {
    stream.Forget();
  }
}

std::vector<std::shared_ptr<WatchHub::Listener>> WatchHub::ListenersOf(WorkspaceKey ws) {
  std::vector<std::shared_ptr<Listener>> listeners;
  for (const auto& listener : listeners_) {
    if (listener->BelongsTo(ws, nullptr, nullptr)) listeners.push_back(listener);
  }
  return listeners;
}

void WatchHub::Follow(WorkspaceKey ws, const ForgottenEvents& forgotten) {
  std::lock_guard lock(mu_);
  follows_ = true;
  Stream& stream = streams_[ws];
  stream = {};
  stream.last = forgotten.cursor;
  stream.forgotten = forgotten;
}

void WatchHub::Unfollow(WorkspaceKey ws) {
  std::vector<std::shared_ptr<Listener>> listeners;
  {
    std::lock_guard lock(mu_);
    streams_.erase(ws);
    listeners = ListenersOf(ws);
  }
  for (const auto& listener : listeners) listener->End(WatchEnd::kAgain);
}

std::optional<uint64_t> WatchHub::Followed(WorkspaceKey ws) {
  std::lock_guard lock(mu_);
  const auto found = streams_.find(ws);
  return found == streams_.end() ? std::nullopt : std::optional(found->second.last);
}

void WatchHub::Deliver(WorkspaceKey ws, std::vector<LoggedEvent> events) {
  std::vector<std::shared_ptr<Listener>> listeners;
  {
    std::lock_guard lock(mu_);
    const auto found = streams_.find(ws);
    if (found == streams_.end()) return;
    for (LoggedEvent& logged : events) {
      if (logged.event.cursor <= found->second.last) continue;
      Keep(found->second, std::move(logged));
    }
    listeners = ListenersOf(ws);
  }
  for (const auto& listener : listeners) listener->Wake();
}

std::vector<std::pair<WorkspaceKey, bool>> WatchHub::AllFollowed() {
  std::lock_guard lock(mu_);
  std::vector<std::pair<WorkspaceKey, bool>> all;
  for (const auto& [ws, stream] : streams_) all.emplace_back(ws, !ListenersOf(ws).empty());
  return all;
}

uint64_t WatchHub::cursor(WorkspaceKey ws) {
  std::lock_guard lock(mu_);
  return StreamOf(ws).last;
}

Told WatchHub::LastBy(WorkspaceKey ws, const SessionId& session) {
  std::lock_guard lock(mu_);
  const Stream& stream = StreamOf(ws);
  for (auto stored = stream.events.rbegin(); stored != stream.events.rend(); ++stored) {
    if (stored->is_change() && stored->session == session) {
      return {stored->event.cursor, stored->event.changes->only};
    }
  }
  return {start_cursor_};
}

std::optional<HubEvent> WatchHub::Next(WorkspaceKey ws, const SessionId& session,
                                       uint64_t* cursor) {
  std::lock_guard lock(mu_);
  if (follows_ && !streams_.contains(ws)) return std::nullopt;
  Stream& stream = StreamOf(ws);
  if (*cursor < stream.forgotten.LostFor(session) || *cursor > stream.last) {
    HubEvent gap;
    gap.cursor = *cursor = stream.last;
    gap.gap = true;
    return gap;
  }
  auto stored = std::upper_bound(
      stream.events.begin(), stream.events.end(), *cursor,
      [](uint64_t behind, const LoggedEvent& one) { return behind < one.event.cursor; });
  for (; stored != stream.events.end(); ++stored) {
    if (!stored->IsFor(session)) continue;
    *cursor = stored->event.cursor;
    return stored->event;
  }
  *cursor = stream.last;
  return std::nullopt;
}

void WatchHub::Add(std::shared_ptr<Listener> listener) {
  bool followed = false;
  {
    std::lock_guard lock(mu_);
    listeners_.push_back(listener);
    followed = !follows_ || std::any_of(streams_.begin(), streams_.end(), [&](const auto& stream) {
      return listener->BelongsTo(stream.first, nullptr, nullptr);
    });
  }
  if (!followed) listener->End(WatchEnd::kAgain);
}

void WatchHub::Remove(const Listener* listener) {
  std::lock_guard lock(mu_);
  std::erase_if(listeners_, [&](const auto& l) { return l.get() == listener; });
}

void WatchHub::End(WorkspaceKey ws, const SessionId* session, const std::string* token_id,
                   WatchEnd why) {
  std::vector<std::shared_ptr<Listener>> ending;
  {
    std::lock_guard lock(mu_);
    for (const auto& listener : listeners_) {
      if (listener->BelongsTo(ws, session, token_id)) ending.push_back(listener);
    }
  }
  for (const auto& listener : ending) listener->End(why);
}

}  // namespace airstore::gateway
