// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/watch_stream.h"

namespace airstore::gateway {

WatchStream::WatchStream(WatchHub& hub, const Access& access, uint64_t cursor)
    : hub_(hub),
      workspace_(access.session.workspace),
      session_(access.session.id),
      token_id_(access.caller.token_id),
      cursor_(cursor) {}

WatchStream* WatchStream::Start(WatchHub& hub, const Access& access, uint64_t cursor) {
  std::shared_ptr<WatchStream> stream(new WatchStream(hub, access, cursor));
  stream->self_ = stream;
  // Headers at once: the client knows that it watches before the first event.
  stream->StartSendInitialMetadata();
  hub.Add(stream);
  stream->Wake();
  return stream.get();
}

void WatchStream::Wake() {
  std::lock_guard lock(mu_);
  Pump();
}

void WatchStream::Pump() {
  if (writing_ || finished_) return;
  const auto event = hub_.Next(workspace_, session_, &cursor_);
  if (!event) return;
  ToWire(*event, &event_);
  writing_ = true;
  StartWrite(&event_);
}

void WatchStream::OnWriteDone(bool ok) {
  std::lock_guard lock(mu_);
  writing_ = false;
  if (!ok) {
    FinishOnce({grpc::StatusCode::CANCELLED, "stream broken"});
  } else if (ending_) {
    FinishOnce(final_status_);
  } else {
    Pump();
  }
}

void WatchStream::OnCancel() {
  std::lock_guard lock(mu_);
  FinishOnce({grpc::StatusCode::CANCELLED, "cancelled"});
}

void WatchStream::End(WatchEnd why) {
  std::lock_guard lock(mu_);
  if (why == WatchEnd::kBehind) {
    FinishOnce({grpc::StatusCode::ABORTED, "events were not acknowledged in time"});
  } else if (why == WatchEnd::kAgain) {
    FinishOnce({grpc::StatusCode::UNAVAILABLE, "watch again"});
  } else {
    FinishOnce({grpc::StatusCode::UNAUTHENTICATED, "the session or its token has ended"});
  }
}

void WatchStream::FinishOnce(grpc::Status status) {
  if (finished_) return;
  if (writing_) {
    // One operation at a time: the write is done first (or fails, when the peer is gone).
    if (!ending_) final_status_ = std::move(status);
    ending_ = true;
    return;
  }
  finished_ = true;
  Finish(std::move(status));
}

bool WatchStream::BelongsTo(WorkspaceKey ws, const SessionId* session,
                            const std::string* token_id) const {
  return (ws == 0 || ws == workspace_) && (session == nullptr || *session == session_) &&
         (token_id == nullptr || *token_id == token_id_);
}

void WatchStream::OnDone() {
  hub_.Remove(this);
  // The last reference may be this one: it must not be a member while it goes.
  const std::shared_ptr<WatchStream> self = std::move(self_);
}

}  // namespace airstore::gateway
