// SPDX-License-Identifier: Apache-2.0
//
// CallMeter: how often each gRPC method was called, how that ended, and how long it took. It sees
// every call of every service, whoever answers it.
//
// Threads: any.
// Ownership: must outlive the server that it measures.
#pragma once

#include <grpcpp/support/server_interceptor.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace airstore::gateway {

class CallMeter {
 public:
  static constexpr size_t kCodes = 17;    // of gRPC, from OK to UNAUTHENTICATED
  static constexpr size_t kBuckets = 40;  // element b counts [2^b, 2^(b+1)) nanoseconds

  struct Counts {
    std::array<uint64_t, kCodes> ended{};  // by code; CANCELLED: nobody waited for the answer
    std::vector<uint64_t> latencies;       // empty: a stream, which takes as long as it likes
    uint64_t running = 0;
  };
  // By the method's name, as "/airstore.storage.v2.Storage/Apply"; those that were called.
  std::map<std::string, Counts> Read() const;

  std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>>
  Interceptors();

 private:
  struct Method {
    std::array<std::atomic<uint64_t>, kCodes> ended{};
    std::array<std::atomic<uint64_t>, kBuckets> latencies{};
    std::atomic<uint64_t> running{0};
    bool timed = false;
  };
  class Factory;
  class Call;

  Method& Of(const grpc::experimental::ServerRpcInfo& info);

  mutable std::mutex mu_;
  std::map<std::string, Method, std::less<>> methods_;  // guarded by mu_; what is in one is not
};

}  // namespace airstore::gateway
