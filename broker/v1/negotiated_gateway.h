// SPDX-License-Identifier: Apache-2.0
//
// The Gateway of an address whose protocol is found out when the session is opened: storage v2, or
// v1 where that is not implemented. A session keeps the protocol that it began with.
#pragma once

#include <functional>
#include <memory>

#include "broker/gateway.h"

namespace airstore::broker::v1 {

// `make_v1` may make nothing: then there is no connection.
std::shared_ptr<Gateway> MakeNegotiatedGateway(std::shared_ptr<Gateway> v2,
                                               std::function<std::unique_ptr<Gateway>()> make_v1);

}  // namespace airstore::broker::v1
