// SPDX-License-Identifier: Apache-2.0
//
// What those who watch a workspace are told, in commit order, and whether they have taken it in.
// The events that streams read are in the hub; where they come from is what differs: LocalBulletin
// for a gateway that is the only one, RedisBulletin for several.
//
// Threads: any.
// Fails: when the store does.
#pragma once

#include <functional>
#include <string>

#include "shm/base/result.h"
#include "tools/gateway/watch_acks.h"
#include "tools/gateway/watch_hub.h"

namespace airstore::gateway {

class Bulletin {
 public:
  virtual ~Bulletin() = default;
  virtual WatchHub& hub() = 0;

  // A commit that the store has not announced by itself (MetadataWriter::Announce). Answers the
  // cursor.
  virtual uint64_t Publish(WorkspaceKey ws, const SessionId& by, const ChangeSet& changes) = 0;
  // These are for one session; one that is far behind may never hear of them.
  virtual void Recall(WorkspaceKey ws, const SessionId& to, uint64_t lease_id) = 0;
  virtual void LockFreed(WorkspaceKey ws, const SessionId& to, InodeNo ino) = 0;
  // What it has cached of the zone is in another session's way.
  virtual void AskToForget(WorkspaceKey ws, const SessionId& to, InodeNo zone) = 0;
  // An event for that session, behind all that it is to know by now; answers the cursor.
  virtual Result<uint64_t> Mark(WorkspaceKey ws, const SessionId& to) = 0;

  // Where somebody begins to watch who knows nothing yet.
  virtual Result<uint64_t> Cursor(WorkspaceKey ws) = 0;
  // The last change that the session made, or what was before all that is known; cursor 0: nothing
  // is known of it.
  virtual Result<Told> LastBy(WorkspaceKey ws, const SessionId& session) = 0;

  // The session watches from that cursor on; a stream is added to the hub then. False: it was given
  // up since it last did, or has seen what was lost, and is to be told of a gap.
  virtual Result<bool> Begin(WorkspaceKey ws, const SessionId& session, uint64_t cursor) = 0;
  virtual Result<void> Acknowledge(WorkspaceKey ws, const SessionId& session, uint64_t cursor) = 0;
  // The session has ended.
  virtual Result<void> Forget(WorkspaceKey ws, const SessionId& session) = 0;
  // Calls `done` once all watchers whom the change concerns, but `by`, have acknowledged, or were
  // given up. Does not when it fails: then nobody knows whom to wait for.
  virtual Result<void> WhenSeen(WorkspaceKey ws, const SessionId& by, const Told& told,
                                WatchAcks::Done done) = 0;
  // Ends the watches of a session, a token, a workspace: what is given must match.
  virtual void End(WorkspaceKey ws, const SessionId* session, const std::string* token_id) = 0;
};

class LocalBulletin final : public Bulletin {
 public:
  explicit LocalBulletin(std::chrono::milliseconds patience)
      : acks_(patience, [this](WorkspaceKey ws, const SessionId& session) {
          hub_.End(ws, &session, nullptr, WatchEnd::kBehind);
        }) {}

  WatchHub& hub() override { return hub_; }
  uint64_t Publish(WorkspaceKey ws, const SessionId& by, const ChangeSet& changes) override {
    return hub_.PublishChanges(ws, by, changes);
  }
  void Recall(WorkspaceKey ws, const SessionId& to, uint64_t lease_id) override {
    hub_.PublishRecall(ws, to, lease_id);
  }
  void LockFreed(WorkspaceKey ws, const SessionId& to, InodeNo ino) override {
    hub_.PublishLockFreed(ws, to, ino);
  }
  void AskToForget(WorkspaceKey ws, const SessionId& to, InodeNo zone) override {
    hub_.PublishForget(ws, to, zone);
  }
  Result<uint64_t> Mark(WorkspaceKey ws, const SessionId& to) override {
    return hub_.PublishMark(ws, to);
  }
  Result<uint64_t> Cursor(WorkspaceKey ws) override { return hub_.cursor(ws); }
  Result<Told> LastBy(WorkspaceKey ws, const SessionId& session) override {
    return hub_.LastBy(ws, session);
  }
  // A session of an earlier life of the gateway.
  void Expect(WorkspaceKey ws, const SessionId& session) { acks_.Expect(ws, session); }
  Result<bool> Begin(WorkspaceKey ws, const SessionId& session, uint64_t cursor) override {
    return acks_.Begin(ws, session, cursor);
  }
  Result<void> Acknowledge(WorkspaceKey, const SessionId& session, uint64_t cursor) override {
    acks_.Acknowledge(session, cursor);
    return {};
  }
  Result<void> Forget(WorkspaceKey ws, const SessionId& session) override {
    acks_.Forget(session);
    // Should it be there all the same: what it had registered is gone, and it must hear so.
    hub_.End(ws, &session, nullptr, WatchEnd::kBehind);
    return {};
  }
  Result<void> WhenSeen(WorkspaceKey ws, const SessionId& by, const Told& told,
                        WatchAcks::Done done) override {
    acks_.WhenSeen(ws, by, told, std::move(done));
    return {};
  }
  void End(WorkspaceKey ws, const SessionId* session, const std::string* token_id) override {
    hub_.End(ws, session, token_id);
  }

 private:
  WatchHub hub_;
  WatchAcks acks_;
};

}  // namespace airstore::gateway
