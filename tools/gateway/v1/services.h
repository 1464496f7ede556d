// SPDX-License-Identifier: Apache-2.0
//
// All services of v1 and what they share.
//
// Threads: Register() before the server starts; the destructor after its shutdown.
// Ownership: owns the services and their pools, borrows the gateway.
#pragma once

#include <memory>

#include "tools/gateway/config.h"
#include "tools/gateway/gateway.h"

namespace grpc {
class ServerBuilder;
}

namespace airstore::gateway::v1 {

class Services {
 public:
  // Fails when what tasks have left in the data directory cannot be read.
  static Result<std::unique_ptr<Services>> Open(Gateway& gateway, const Config& config);
  ~Services();
  void Register(grpc::ServerBuilder& builder);
  // Ends what would keep calls from being answered.
  void Stop();

 private:
  struct Parts;
  explicit Services(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace airstore::gateway::v1
