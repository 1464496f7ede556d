// SPDX-License-Identifier: Apache-2.0
//
// ToolServer: the socket of a session through which programs in its mounts run tools. Whoever
// knows the session's ticket may; it stands in files of the mount, so that is who may read these.
// The token stays in the broker.
//
// Threads: the event loop.
// Owns: the socket's name; it goes with the server.
#pragma once

#include <memory>
#include <string>

#include "broker/control_socket.h"
#include "broker/gateway_services.h"

namespace airstore::broker {

class ToolServer {
 public:
  // `tasks` waits for the runs at the end. Fails: as ListenOnControlSocket.
  static Result<std::unique_ptr<ToolServer>> Listen(const boost::asio::any_io_executor& loop,
                                                    Tasks* tasks, const std::string& path,
                                                    std::string ticket,
                                                    std::shared_ptr<GatewayServices> services);
  ~ToolServer();
  // Every run ends, and no other begins.
  void Stop();

 private:
  struct State;
  explicit ToolServer(std::shared_ptr<State> state);
  static Task<void> Accept(std::shared_ptr<State> state);
  static Task<void> Serve(std::shared_ptr<State> state, int fd);

  std::shared_ptr<State> state_;
};

}  // namespace airstore::broker
