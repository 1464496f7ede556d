// SPDX-License-Identifier: Apache-2.0
//
// GatewayMetrics: the gateway's numbers for Prometheus, over HTTP on a unix socket or a port of
// this host. What is not counted anyway is gathered when somebody asks.
//
// Threads: one of its own, which answers. Nothing of the gateway waits for it.
// Ownership: borrows gateway and meter, both of which must outlive it.
// Fails: Serve() when the address cannot be listened on, EINVAL when it is none.
#pragma once

#include <memory>
#include <string>

#include "broker/log_counts.h"
#include "tools/gateway/call_meter.h"
#include "tools/gateway/gateway.h"

namespace airstore::gateway {

struct MetricsParts {
  Gateway& gateway;
  const CallMeter& calls;
  std::shared_ptr<const broker::LogCounts> log;
  SteadyTime started = SteadyNow();
};

std::string MetricsText(const MetricsParts& parts);

class GatewayMetrics {
 public:
  // `address`: as --metrics has it (broker/metrics_address.h).
  static Result<std::unique_ptr<GatewayMetrics>> Serve(MetricsParts parts,
                                                       const std::string& address);
  ~GatewayMetrics();
  // "unix:/path", "http://127.0.0.1:9465/metrics"
  const std::string& address() const;

 private:
  struct State;
  explicit GatewayMetrics(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace airstore::gateway
