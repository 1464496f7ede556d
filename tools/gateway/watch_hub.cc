// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/watch_hub.h"

#include <algorithm>

#include "tools/gateway/clock.h"

namespace airstore::gateway {

namespace {

size_t BytesOf(const ChangeSet& changes) {
  size_t bytes = 64 + changes.inodes.size() * sizeof(InodeNo);
  for (const ChangeSet::Name& name : changes.names) bytes += sizeof name + name.name.size();
  return bytes;
}

}  // namespace

WatchHub::WatchHub(size_t events_per_workspace, size_t bytes_per_workspace)
    : capacity_(events_per_workspace),
      capacity_bytes_(bytes_per_workspace),
      start_cursor_(static_cast<uint64_t>(WallClockNs() / 1000)) {}

WatchHub::Stream& WatchHub::StreamOf(WorkspaceKey ws) {
  auto [it, added] = streams_.try_emplace(ws);
  if (added) it->second.last = it->second.forgotten = start_cursor_;
  return it->second;
}

void WatchHub::PublishChanges(WorkspaceKey ws, const SessionId& by, ChangeSet changes) {
  Stored stored;
  stored.bytes = BytesOf(changes);
  stored.event.changes = std::make_shared<const ChangeSet>(std::move(changes));
  stored.session = by;
  Publish(ws, std::move(stored));
}

void WatchHub::PublishRecall(WorkspaceKey ws, const SessionId& to, uint64_t lease_id) {
  Stored stored;
  stored.event.lease_recall = lease_id;
  stored.session = to;
  Publish(ws, std::move(stored));
}

void WatchHub::Publish(WorkspaceKey ws, Stored stored) {
  std::vector<std::shared_ptr<Listener>> listeners;
  {
    std::lock_guard lock(mu_);
    Stream& stream = StreamOf(ws);
    stored.event.cursor = ++stream.last;
    stream.bytes += stored.bytes;
    stream.events.push_back(std::move(stored));
    // The newest stays, however large.
    while (stream.events.size() > capacity_ ||
           (stream.bytes > capacity_bytes_ && stream.events.size() > 1)) {
      stream.bytes -= stream.events.front().bytes;
      stream.forgotten = stream.events.front().event.cursor;
      stream.events.pop_front();
    }
    for (const auto& listener : listeners_) {
      if (listener->BelongsTo(ws, nullptr, nullptr)) listeners.push_back(listener);
    }
  }
  for (const auto& listener : listeners) listener->Wake();
}

uint64_t WatchHub::cursor(WorkspaceKey ws) {
  std::lock_guard lock(mu_);
  return StreamOf(ws).last;
}

std::optional<HubEvent> WatchHub::Next(WorkspaceKey ws, const SessionId& session, uint64_t cursor) {
  std::lock_guard lock(mu_);
  Stream& stream = StreamOf(ws);
  if (cursor < stream.forgotten || cursor > stream.last) {
    HubEvent gap;
    gap.cursor = stream.last;
    gap.gap = true;
    return gap;
  }
  // Cursors in the ring are consecutive.
  for (size_t i = cursor - stream.forgotten; i < stream.events.size(); ++i) {
    const Stored& stored = stream.events[i];
    const bool is_recall = stored.event.lease_recall != 0;
    if ((stored.session == session) == is_recall) return stored.event;
  }
  return std::nullopt;
}

void WatchHub::Add(std::shared_ptr<Listener> listener) {
  std::lock_guard lock(mu_);
  listeners_.push_back(std::move(listener));
}

void WatchHub::Remove(const Listener* listener) {
  std::lock_guard lock(mu_);
  std::erase_if(listeners_, [&](const auto& l) { return l.get() == listener; });
}

void WatchHub::End(WorkspaceKey ws, const SessionId* session, const std::string* token_id) {
  std::vector<std::shared_ptr<Listener>> ending;
  {
    std::lock_guard lock(mu_);
    for (const auto& listener : listeners_) {
      if (listener->BelongsTo(ws, session, token_id)) ending.push_back(listener);
    }
  }
  for (const auto& listener : ending) listener->End();
}

}  // namespace airstore::gateway
