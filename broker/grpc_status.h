// SPDX-License-Identifier: Apache-2.0
//
// The one place where a gRPC status becomes an Error, and an Error of a gateway a Failure.
// Threads: any.
#pragma once

#include <grpcpp/support/status.h>

#include "broker/broker_api.h"
#include "shm/base/result.h"

namespace airstore::broker {

// As broker/gateway.h documents. REQUIRES: !status.ok()
Error ErrorOfStatus(const char* call, const grpc::Status& status);

// What the gateway, or gRPC, said, for terminals and logs.
std::string PrintableStatus(const grpc::Status& status);

// Of an administrative call. REQUIRES: !status.ok()
Failure FailureOfStatus(const std::string& address, const grpc::Status& status);

}  // namespace airstore::broker
