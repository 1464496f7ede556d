// SPDX-License-Identifier: Apache-2.0
//
// GatewayChannelPool: one connection per gateway address (or list of them), shared by every session
// and every administrative call to it.
//
// Threads: the event loop. Calls are finished by gRPC's threads, which only post to the loop.
// Owns: the connections. Destroy the pool before the io_context: its destructor cancels what is in
// flight and waits until gRPC has let go, so that nothing is posted to a loop that is gone.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "broker/broker_api.h"
#include "broker/gateway_address.h"
#include "broker/gateway_health.h"

namespace grpc {
class Channel;
}

namespace airstore::broker {

// One connection; what is inside is gRPC's and stays out of this header.
class GatewayChannel;

struct GatewayTls {
  std::string ca_file;  // empty: the system's roots
  std::string cert_file;
  std::string key_file;
  bool insecure = false;  // plain text to other hosts is allowed
  // Gateways are known to be of v1: their clients' rule decides (IsPlainInV1).
  bool as_v1 = false;
};

// What is said over a connection: a gateway of v1 closes one on which it is pinged more often than
// every five minutes.
enum class Speech { kV2, kV1 };

class GatewayChannelPool {
 public:
  explicit GatewayChannelPool(GatewayTls tls);
  ~GatewayChannelPool();
  GatewayChannelPool(const GatewayChannelPool&) = delete;
  GatewayChannelPool& operator=(const GatewayChannelPool&) = delete;

  // Does not connect yet. Fails with kUsage (address), kPermission (plain text to another host) or
  // kHost (certificate files).
  Outcome<std::shared_ptr<GatewayChannel>> Get(const std::string& address,
                                               Speech speech = Speech::kV2);

  // Of all that is said to the address.
  GatewayHealth Health(const std::string& address) const;

  // Ends every call in flight (EAGAIN) and all to come. Blocks for as long as gRPC needs to.
  void Shutdown();

 private:
  Outcome<std::shared_ptr<grpc::Channel>> Make(const GatewayAddress& address, Speech speech,
                                               bool of_several) const;

  const GatewayTls tls_;
  std::map<std::pair<std::string, Speech>, std::shared_ptr<GatewayChannel>> channels_;
  bool closed_ = false;
};

}  // namespace airstore::broker
