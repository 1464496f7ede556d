// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/watch_acks.h"

#include <algorithm>
#include <utility>

namespace airstore::gateway {

WatchAcks::WatchAcks(std::chrono::milliseconds patience, GiveUp give_up)
    : patience_(patience), give_up_(std::move(give_up)), timer_([this] { KeepTime(); }) {}

WatchAcks::~WatchAcks() {
  {
    std::lock_guard lock(mu_);
    ending_ = true;
  }
  wake_.notify_all();
  timer_.join();
  for (const Waiting& waiting : waiting_) waiting.done();
}

void WatchAcks::Expect(WorkspaceKey ws, const SessionId& session) {
  std::lock_guard lock(mu_);
  watchers_[session].workspace = ws;
}

bool WatchAcks::Begin(WorkspaceKey ws, const SessionId& session, uint64_t cursor) {
  std::vector<Done> done;
  bool in_time = false;
  {
    std::lock_guard lock(mu_);
    Watcher& watcher = watchers_[session];
    watcher.workspace = ws;
    watcher.acknowledged = std::max(watcher.acknowledged, cursor);
    in_time = !std::exchange(watcher.given_up, false);
    Satisfy(session, watcher.acknowledged, &done);
  }
  for (const Done& finish : done) finish();
  return in_time;
}

void WatchAcks::Acknowledge(const SessionId& session, uint64_t cursor) {
  std::vector<Done> done;
  {
    std::lock_guard lock(mu_);
    const auto found = watchers_.find(session);
    if (found == watchers_.end()) return;
    Watcher& watcher = found->second;
    watcher.acknowledged = std::max(watcher.acknowledged, cursor);
    Satisfy(session, watcher.acknowledged, &done);
  }
  for (const Done& finish : done) finish();
}

void WatchAcks::Forget(const SessionId& session) {
  std::vector<Done> done;
  {
    std::lock_guard lock(mu_);
    watchers_.erase(session);
    Satisfy(session, UINT64_MAX, &done);
  }
  for (const Done& finish : done) finish();
}

void WatchAcks::WhenSeen(WorkspaceKey ws, const SessionId& by, const Told& told, Done done) {
  {
    std::lock_guard lock(mu_);
    Waiting waiting{told.cursor, {}, SteadyNow() + patience_, done};
    for (const auto& [session, watcher] : watchers_) {
      if (watcher.workspace == ws && session != by && !watcher.given_up && told.Concerns(session) &&
          watcher.acknowledged < told.cursor) {
        waiting.missing.insert(session);
      }
    }
    if (!waiting.missing.empty()) return Wait(std::move(waiting));
  }
  done();
}

void WatchAcks::WhenSeenBy(WorkspaceKey ws, const std::set<SessionId>& who, uint64_t cursor,
                           Done done) {
  {
    std::lock_guard lock(mu_);
    Waiting waiting{cursor, {}, SteadyNow() + patience_, done};
    for (const SessionId& session : who) {
      Watcher& watcher = watchers_[session];
      watcher.workspace = ws;
      if (watcher.acknowledged < cursor) waiting.missing.insert(session);
    }
    if (!waiting.missing.empty()) return Wait(std::move(waiting));
  }
  done();
}

void WatchAcks::Hear(WorkspaceKey ws, const SessionId& session, uint64_t cursor) {
  {
    std::lock_guard lock(mu_);
    Watcher& watcher = watchers_[session];
    watcher.workspace = ws;
    if (cursor == 0) watcher.acknowledged = 0;
  }
  Acknowledge(session, cursor);
}

void WatchAcks::Wait(Waiting waiting) {
  waiting_.push_back(std::move(waiting));
  if (waiting_.size() == 1) wake_.notify_all();
}

void WatchAcks::Satisfy(const SessionId& session, uint64_t cursor, std::vector<Done>* done) {
  for (auto waiting = waiting_.begin(); waiting != waiting_.end();) {
    if (waiting->cursor <= cursor) waiting->missing.erase(session);
    if (!waiting->missing.empty()) {
      ++waiting;
      continue;
    }
    done->push_back(std::move(waiting->done));
    waiting = waiting_.erase(waiting);
  }
}

void WatchAcks::KeepTime() {
  std::unique_lock lock(mu_);
  while (!ending_) {
    if (waiting_.empty()) {
      wake_.wait(lock);
      continue;
    }
    const SteadyTime deadline = waiting_.front().deadline;
    if (SteadyNow() < deadline) {
      wake_.wait_until(lock, deadline);
      continue;
    }
    std::vector<Done> done;
    std::vector<std::pair<WorkspaceKey, SessionId>> late;
    for (const SessionId& session : std::set(waiting_.front().missing)) {
      const auto found = watchers_.find(session);
      if (found != watchers_.end()) {
        found->second.given_up = true;
        late.emplace_back(found->second.workspace, session);
      }
      Satisfy(session, UINT64_MAX, &done);
    }
    lock.unlock();
    for (const auto& [ws, session] : late) give_up_(ws, session);
    for (const Done& finish : done) finish();
    lock.lock();
  }
}

}  // namespace airstore::gateway
