// SPDX-License-Identifier: Apache-2.0
//
// The ContextClient over gRPC.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "broker/gateway_channel.h"
#include "broker/v1/context_client.h"

namespace airstore::broker::v1 {

// `token` is a secret: it is sent with each call and kept nowhere else.
std::unique_ptr<ContextClient> MakeGrpcContextClient(const boost::asio::any_io_executor& loop,
                                                     std::shared_ptr<GatewayChannel> channel,
                                                     Secret token,
                                                     std::chrono::milliseconds call_timeout);

}  // namespace airstore::broker::v1
