// SPDX-License-Identifier: Apache-2.0
//
// The AdminClient over gRPC (airstore.storage.v2.Admin).
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "broker/admin_client.h"
#include "broker/gateway_channel.h"
#include "shm/base/wipe.h"

namespace airstore::broker {

std::shared_ptr<AdminClient> MakeGrpcAdminClient(
    const boost::asio::any_io_executor& loop, std::shared_ptr<GatewayChannel> channel, Secret token,
    std::chrono::milliseconds timeout = std::chrono::seconds(30));

}  // namespace airstore::broker
