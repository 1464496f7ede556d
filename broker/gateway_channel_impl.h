// SPDX-License-Identifier: Apache-2.0
//
// GatewayChannel: the gRPC side of a connection, and the list of the calls that are in flight on
// it. Several addresses are several gateways on one store: calls go to one of them, and to the next
// when that cannot be connected to, or has failed for seconds. Threads: any.
#pragma once

#include <grpcpp/grpcpp.h>

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "broker/gateway_health.h"
#include "broker/log_limit.h"

namespace airstore::broker {

class GatewayChannel {
 public:
  // `targets`: of the channels. `first`: of them, in use.
  GatewayChannel(std::string address, bool on_host, std::vector<std::string> targets,
                 std::vector<std::shared_ptr<grpc::Channel>> channels, size_t first)
      : address_(std::move(address)),
        on_host_(on_host),
        targets_(std::move(targets)),
        channels_(std::move(channels)),
        current_(first) {}

  const std::string& address() const { return address_; }
  bool on_host() const { return on_host_; }
  // Which of its addresses, as gRPC knows it.
  const std::string& in_use() const { return targets_[current()]; }
  const std::vector<std::shared_ptr<grpc::Channel>>& channels() const { return channels_; }
  size_t current() const { return current_.load(std::memory_order_relaxed); }

  // A call starts. After Shutdown it is cancelled at once.
  void Enter(grpc::ClientContext* context);
  // A call with one answer has ended after so long.
  void Tally(std::chrono::nanoseconds took, const grpc::Status& status);
  // It has ended: its context may go.
  void Forget(grpc::ClientContext* context, const grpc::Status& status);
  // The last thing that gRPC's thread does with the call, and with this object.
  void Leave();
  // Cancels every call and waits until all have left.
  void Shutdown();

  // Tries to connect now, if the next try is still to come.
  void Reconnect() const {
    for (const auto& channel : channels_) {
      grpc::experimental::ChannelResetConnectionBackoff(channel.get());
    }
  }

  // "connected", "connecting", "unreachable".
  std::string State() const;
  GatewayHealth Health() const;

 private:
  enum Last : int { kNoCall, kAnswered, kUnanswered };

  const std::string address_;
  const bool on_host_;
  void Advance();
  bool FailsForLong(grpc_connectivity_state state);

  static constexpr std::chrono::milliseconds kPatienceWithStore{3000};
  const std::vector<std::string> targets_;
  const std::vector<std::shared_ptr<grpc::Channel>> channels_;
  std::atomic<size_t> current_;
  // For status only, so no ordering is needed.
  std::atomic<int> last_{kNoCall};
  std::atomic<uint64_t> unanswered_{0};
  std::atomic<int64_t> failing_since_ms_{0};  // calls that it took, steady clock; 0: they do not
  static constexpr size_t kLatencyBuckets = 40;
  std::array<std::atomic<uint64_t>, kLatencyBuckets> latency_{};
  LogLimit not_reached_{std::chrono::seconds(10)};
  LogLimit other_reason_{std::chrono::seconds(1)};

  mutable std::mutex mutex_;
  // Guarded by mutex_.
  std::condition_variable left_;
  std::set<grpc::ClientContext*> contexts_;
  std::string error_;   // of the last call, if that was not answered
  std::string logged_;  // the error that was logged last
  size_t entered_ = 0;
  bool closed_ = false;
};

// A stub for each of the channel's addresses; calls go to the one in use.
template <typename Service>
class Stubs {
 public:
  using Stub = typename Service::Stub;

  explicit Stubs(std::shared_ptr<GatewayChannel> channel) : channel_(std::move(channel)) {
    for (const auto& one : channel_->channels()) all_.push_back(Service::NewStub(one));
  }
  std::shared_ptr<Stub> Current() const { return all_[channel_->current()]; }

 private:
  std::shared_ptr<GatewayChannel> channel_;
  std::vector<std::shared_ptr<Stub>> all_;
};

}  // namespace airstore::broker
