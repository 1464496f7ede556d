// SPDX-License-Identifier: Apache-2.0
//
// ControlServer: serves airstore.control.v1 on a unix socket.
//
// A caller is who the kernel says (SO_PEERCRED). What is not a request ends its connection and no
// other; a peer that says nothing or reads nothing for long is let go.
// Threads: the event loop.
// Owns: the socket file, removed with it. `api` must live until the loop has stopped: requests that
// are being answered go on when the server is gone.
#pragma once

#include <memory>
#include <string>

#include "broker/broker_api.h"
#include "broker/control_requests.h"
#include "broker/control_socket.h"

namespace airstore::broker {

class ControlServer {
 public:
  static Result<std::unique_ptr<ControlServer>> Listen(const boost::asio::any_io_executor& loop,
                                                       const std::string& path, BrokerApi& api,
                                                       AdminFactory admin);
  // On the socket of a broker, or of a service manager, that has given it to us; who waits there
  // has not noticed.
  static Result<std::unique_ptr<ControlServer>> Adopt(const boost::asio::any_io_executor& loop,
                                                      UniqueFd socket, BrokerApi& api,
                                                      AdminFactory admin);
  // Takes no more callers.
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

  const std::string& path() const;
  int fd() const;  // listening

 private:
  struct State;
  explicit ControlServer(std::shared_ptr<State> state);
  static std::unique_ptr<ControlServer> Serve(const boost::asio::any_io_executor& loop,
                                              ControlSocket socket, BrokerApi& api,
                                              AdminFactory admin);
  static Task<void> Accept(std::shared_ptr<State> state);
  static Task<void> Serve(std::shared_ptr<State> state, int fd);

  // Shared with the coroutines that serve.
  std::shared_ptr<State> state_;
};

}  // namespace airstore::broker
