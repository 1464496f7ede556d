// SPDX-License-Identifier: Apache-2.0
//
// What those who watch a workspace are told, and what a log of it no longer has.
//
// Threads: plain values; the changes of an event are shared by all who are told.
#pragma once

#include <cstddef>
#include <memory>

#include "tools/gateway/types.h"

namespace airstore::gateway {

struct HubEvent {
  uint64_t cursor = 0;
  bool gap = false;
  uint64_t lease_recall = 0;                 // id of the lease, or 0
  InodeNo lock_freed = 0;                    // or 0
  InodeNo forget = 0;                        // a zone, or 0
  std::shared_ptr<const ChangeSet> changes;  // shared by all who watch
};

struct LoggedEvent {
  HubEvent event;
  SessionId session;  // of changes: who made them; else: whom it is for
  size_t bytes = 0;

  bool is_change() const { return event.changes != nullptr; }
  // Without anything in it, it marks a place.
  bool IsFor(const SessionId& who) const {
    return is_change() ? session != who && event.changes->Concerns(who) : session == who;
  }
};

// A change that was told.
struct Told {
  uint64_t cursor = 0;
  std::vector<SessionId> only = {};  // as in ChangeSet
  bool Concerns(const SessionId& session) const {
    return only.empty() || std::binary_search(only.begin(), only.end(), session);
  }
};

// What a log no longer has: its newest change, and the newest one of another session than that. So
// what a session itself has made is no gap for it.
struct ForgottenEvents {
  uint64_t cursor = 0;  // of the newest event
  SessionId newest_by;
  uint64_t newest = 0, other = 0;

  uint64_t LostFor(const SessionId& session) const { return newest_by == session ? other : newest; }
};

}  // namespace airstore::gateway
