// SPDX-License-Identifier: Apache-2.0
#include "broker/grpc_watch.h"

#include <deque>
#include <mutex>
#include <optional>

#include "broker/grpc_status.h"
#include "broker/wire_decode.h"

namespace airstore::broker {
namespace {

namespace wire = storage::v2;

// So many events wait here for the loop; then the gateway waits.
constexpr size_t kMostQueued = 256;

// What the loop and gRPC's threads share.
struct Shared {
  explicit Shared(const boost::asio::any_io_executor& executor) : loop(executor), news(executor) {}

  const boost::asio::any_io_executor loop;
  Event news;  // the loop's only

  std::mutex mutex;
  // Guarded by mutex.
  std::deque<WatchEvent> events;
  std::optional<Error> ended;
  bool full = false;  // no read is under way: whoever takes an event starts the next
  grpc::ClientContext* context = nullptr;
  std::function<void()> read_on;
};

// gRPC's side of the call; deletes itself when the call is over.
class WatchCall final : public grpc::ClientReadReactor<wire::WatchEvent> {
 public:
  WatchCall(CallContext via, std::shared_ptr<wire::Storage::Stub> stub,
            std::shared_ptr<Shared> shared)
      : via_(std::move(via)), stub_(std::move(stub)), shared_(std::move(shared)) {}

  void Start(const std::string& session_id, uint64_t cursor) {
    request_.set_session_id(session_id);
    request_.set_cursor(cursor);
    context_->AddMetadata("authorization", "Bearer " + via_.token);
    shared_->context = context_.get();
    shared_->read_on = [this] { StartRead(&event_); };
    via_.channel->Enter(context_.get());
    stub_->async()->Watch(context_.get(), &request_, this);
    // Reads are also started from the loop, whenever it has made room.
    AddHold();
    StartRead(&event_);
    StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      EndReading();
      return;
    }
    auto event = DecodeEvent(event_);
    bool full = false;
    {
      const std::lock_guard lock(shared_->mutex);
      if (event) {
        shared_->events.push_back(std::move(*event));
        full = shared_->full = shared_->events.size() >= kMostQueued;
      } else {
        shared_->ended = event.error();
      }
    }
    Tell();
    if (!event) {
      context_->TryCancel();
      EndReading();
    } else if (!full) {
      StartRead(&event_);
    }
  }

  void OnDone(const grpc::Status& status) override {
    {
      const std::lock_guard lock(shared_->mutex);
      shared_->context = nullptr;
      shared_->read_on = nullptr;
      if (!shared_->ended) {
        shared_->ended = status.ok() ? Error{EAGAIN, "watch: the gateway ended it"}
                                     : ErrorOfStatus("watch", status);
      }
    }
    Tell();
    // As in UnaryCall: the context goes before the channel may, and the rest on the loop.
    GatewayChannel* channel = via_.channel.get();
    channel->Forget(context_.get(), status);
    boost::asio::post(via_.loop, [shared = std::move(shared_)] {});
    stub_.reset();
    delete this;
    channel->Leave();
  }

 private:
  ~WatchCall() override = default;

  // No read will be started any more.
  void EndReading() {
    {
      const std::lock_guard lock(shared_->mutex);
      shared_->read_on = nullptr;
    }
    RemoveHold();
  }
  void Tell() {
    boost::asio::post(via_.loop, [shared = shared_] { shared->news.NotifyAll(); });
  }

  CallContext via_;
  std::shared_ptr<wire::Storage::Stub> stub_;
  std::shared_ptr<Shared> shared_;
  std::unique_ptr<grpc::ClientContext> context_ = std::make_unique<grpc::ClientContext>();
  wire::WatchRequest request_;
  wire::WatchEvent event_;
};

class GrpcWatch final : public WatchStream {
 public:
  explicit GrpcWatch(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}
  ~GrpcWatch() override { Cancel(); }

  Task<Result<WatchEvent>> Next() override {
    for (;;) {
      if (auto next = Take()) co_return std::move(*next);
      co_await shared_->news.Wait();
    }
  }

  void Cancel() override {
    const std::lock_guard lock(shared_->mutex);
    if (shared_->context != nullptr) shared_->context->TryCancel();
    ReadOn();  // a read must be under way to find out
  }

 private:
  std::optional<Result<WatchEvent>> Take() {
    const std::lock_guard lock(shared_->mutex);
    if (!shared_->events.empty()) {
      Result<WatchEvent> event = std::move(shared_->events.front());
      shared_->events.pop_front();
      ReadOn();
      return event;
    }
    if (shared_->ended) return Result<WatchEvent>(*shared_->ended);
    return std::nullopt;
  }
  // REQUIRES: mutex
  void ReadOn() {
    if (shared_->full && shared_->read_on) {
      shared_->full = false;
      shared_->read_on();
    }
  }

  const std::shared_ptr<Shared> shared_;
};

}  // namespace

std::unique_ptr<WatchStream> StartWatch(const CallContext& via,
                                        std::shared_ptr<wire::Storage::Stub> stub,
                                        const std::string& session_id, uint64_t cursor) {
  auto shared = std::make_shared<Shared>(via.loop);
  auto* call = new WatchCall(via, std::move(stub), shared);
  call->Start(session_id, cursor);
  return std::make_unique<GrpcWatch>(std::move(shared));
}

}  // namespace airstore::broker
