// SPDX-License-Identifier: Apache-2.0
//
// The Gateway over gRPC (airstore.storage.v2).
//
// Every answer is checked before anybody sees it; see wire_decode.h. Unpacking and checksums run on
// gRPC's threads, so that large answers do not hold up the event loop.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "broker/broker_api.h"
#include "broker/gateway.h"
#include "broker/gateway_channel.h"

namespace airstore::broker {

struct GrpcGatewayOptions {
  std::chrono::milliseconds call_timeout{30'000};
};

// `token` is a secret: it is sent with each call and kept nowhere else.
std::shared_ptr<Gateway> MakeGrpcGateway(const boost::asio::any_io_executor& loop,
                                         std::shared_ptr<GatewayChannel> channel, Secret token,
                                         const GrpcGatewayOptions& options = {});

// What to tell people when Gateway::Open failed. `workspace` as it was asked for.
Failure OpenFailure(const Error& error, const std::string& address, const std::string& workspace);

}  // namespace airstore::broker
