// SPDX-License-Identifier: Apache-2.0
//
// How calls of the v1 services fail: by a status, or by an answer that says ok = false.
// Threads: pure functions.
#pragma once

#include <grpcpp/grpcpp.h>

#include <string>

#include "shm/base/result.h"

namespace airstore::broker {

// As ErrorOfStatus, but ENOSYS for what the gateway does not have.
Error ServiceError(const char* call, const grpc::Status& status);
// Of ok = false. ENOENT where the words say that there is no such thing, else EREMOTEIO.
Error AnswerError(const char* call, const std::string& words);

}  // namespace airstore::broker
