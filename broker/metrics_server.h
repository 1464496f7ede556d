// SPDX-License-Identifier: Apache-2.0
//
// MetricsServer: answers GET /metrics over HTTP, on a unix socket or a port of this host. Nothing
// is counted or gathered until somebody asks.
// Threads: the event loop.
// Owns: the socket file, removed with it.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "broker/metrics_address.h"
#include "broker/task.h"

namespace airstore::broker {

class MetricsServer {
 public:
  // The text of an answer. Must work for as long as the loop runs.
  using Render = std::function<std::string()>;

  // A socket file that is there is replaced: of two brokers with one state directory only the
  // successor comes this far.
  static Result<std::unique_ptr<MetricsServer>> Listen(const boost::asio::any_io_executor& loop,
                                                       const MetricsAddress& address,
                                                       Render render);
  ~MetricsServer();
  MetricsServer(const MetricsServer&) = delete;
  MetricsServer& operator=(const MetricsServer&) = delete;

  // "unix:/path", "http://127.0.0.1:9464/metrics"
  const std::string& address() const;

 private:
  struct State;
  explicit MetricsServer(std::shared_ptr<State> state);
  static Task<void> Accept(std::shared_ptr<State> state);
  static Task<void> Serve(std::shared_ptr<State> state, int fd);

  std::shared_ptr<State> state_;  // shared with the coroutines that serve
};

}  // namespace airstore::broker
