// SPDX-License-Identifier: Apache-2.0
//
// What doctor finds about the broker, its directories, and gateways.
// Threads: any. Changes nothing.
#pragma once

#include <airstore/control/v1/control.pb.h>

#include <string>
#include <vector>

#include "tools/airctl/doctor.h"
#include "tools/airctl/failure.h"

namespace airstore::airctl {

std::vector<Finding> LookAtBroker(const control::v1::StatusResponse& status);
// It did not answer, and why.
Finding BrokerMissing(const std::string& socket, const Failure& failure);

// Modes, room and kind of the state directory; nothing where it may not be looked at.
std::vector<Finding> LookAtStateDirectory(const std::string& path);
// Whether something listens at the address (host:port, unix:/path).
Finding LookAtGateway(const std::string& address);

}  // namespace airstore::airctl
