// SPDX-License-Identifier: Apache-2.0
//
// A call whose answer is a stream of messages, for the event loop. Messages are decoded on gRPC's
// threads and wait here for the loop; when so many wait, the gateway does.
//
// Threads: GrpcStream is made and used on the event loop.
// Owns: the call, which ends soon after the stream goes.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "broker/grpc_call.h"
#include "shm/base/result.h"

namespace airstore::broker {

template <typename Request, typename Message, typename Item>
class GrpcStream {
 public:
  struct Rules {
    size_t most_waiting = 1;
    // An error ends the stream with it.
    std::function<Result<Item>(Message&)> decode;
    // How Next() fails when the call has ended like this.
    std::function<Error(const grpc::Status&)> ended;
    // Starts the call of the stub.
    std::function<void(grpc::ClientContext*, const Request*, grpc::ClientReadReactor<Message>*)>
        start;
  };

  GrpcStream(CallContext via, Request request, Rules rules)
      : shared_(std::make_shared<Shared>(via.loop)) {
    auto* call = new Call(std::move(via), std::move(request), std::move(rules), shared_);
    call->Start();
  }
  ~GrpcStream() { Cancel(); }
  GrpcStream(const GrpcStream&) = delete;
  GrpcStream& operator=(const GrpcStream&) = delete;

  // One call at a time; none may be under way when the stream is destroyed.
  Task<Result<Item>> Next() {
    for (;;) {
      if (auto next = Take()) co_return std::move(*next);
      co_await shared_->news.Wait();
    }
  }
  // Next() fails soon.
  void Cancel() {
    const std::lock_guard lock(shared_->mutex);
    if (shared_->context != nullptr) shared_->context->TryCancel();
    ReadOn();  // a read must be under way to find out
  }

 private:
  // What the loop and gRPC's threads share.
  struct Shared {
    explicit Shared(const boost::asio::any_io_executor& executor) : news(executor) {}

    Event news;  // the loop's only

    std::mutex mutex;
    // Guarded by mutex.
    std::deque<Item> items;
    std::optional<Error> ended;
    bool full = false;  // no read is under way: whoever takes an item starts the next
    grpc::ClientContext* context = nullptr;
    std::function<void()> read_on;
  };

  // gRPC's side of the call; deletes itself when the call is over.
  class Call final : public grpc::ClientReadReactor<Message> {
   public:
    Call(CallContext via, Request request, Rules rules, std::shared_ptr<Shared> shared)
        : via_(std::move(via)),
          request_(std::move(request)),
          rules_(std::move(rules)),
          shared_(std::move(shared)) {}

    void Start() {
      context_->AddMetadata("authorization", "Bearer " + via_.token.text());
      for (const auto& [key, value] : via_.metadata) context_->AddMetadata(key, value);
      shared_->context = context_.get();
      shared_->read_on = [this] { this->StartRead(&message_); };
      via_.channel->Enter(context_.get());
      rules_.start(context_.get(), &request_, this);
      // Reads are also started from the loop, whenever it has made room.
      this->AddHold();
      this->StartRead(&message_);
      this->StartCall();
    }

    void OnReadDone(bool ok) override {
      if (!ok) {
        EndReading();
        return;
      }
      auto item = rules_.decode(message_);
      bool full = false;
      {
        const std::lock_guard lock(shared_->mutex);
        if (item) {
          shared_->items.push_back(std::move(*item));
          full = shared_->full = shared_->items.size() >= rules_.most_waiting;
        } else {
          shared_->ended = item.error();
        }
      }
      Tell();
      if (!item) {
        context_->TryCancel();
        EndReading();
      } else if (!full) {
        this->StartRead(&message_);
      }
    }

    void OnDone(const grpc::Status& status) override {
      {
        const std::lock_guard lock(shared_->mutex);
        shared_->context = nullptr;
        shared_->read_on = nullptr;
        if (!shared_->ended) shared_->ended = rules_.ended(status);
      }
      Tell();
      // As in UnaryCall: the context goes before the channel may, and the rest on the loop.
      GatewayChannel* channel = via_.channel.get();
      channel->Forget(context_.get(), status);
      context_.reset();
      boost::asio::post(via_.loop, [shared = std::move(shared_)] {});
      rules_ = Rules();
      delete this;
      channel->Leave();
    }

   private:
    ~Call() override = default;

    // No read will be started any more.
    void EndReading() {
      {
        const std::lock_guard lock(shared_->mutex);
        shared_->read_on = nullptr;
      }
      this->RemoveHold();
    }
    void Tell() {
      boost::asio::post(via_.loop, [shared = shared_] { shared->news.NotifyAll(); });
    }

    CallContext via_;
    Request request_;
    Rules rules_;
    std::shared_ptr<Shared> shared_;
    std::unique_ptr<grpc::ClientContext> context_ = std::make_unique<grpc::ClientContext>();
    Message message_;
  };

  std::optional<Result<Item>> Take() {
    const std::lock_guard lock(shared_->mutex);
    if (!shared_->items.empty()) {
      Result<Item> item = std::move(shared_->items.front());
      shared_->items.pop_front();
      ReadOn();
      return item;
    }
    if (shared_->ended) return Result<Item>(*shared_->ended);
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

}  // namespace airstore::broker
