// SPDX-License-Identifier: Apache-2.0
//
// Any message of the control protocol as JSON: field names as in the .proto, numbers as numbers,
// every field present.
// Threads: pure functions.
#pragma once

#include <google/protobuf/message.h>

#include <string>

namespace airstore::airctl {

std::string ToJson(const google::protobuf::Message& message);

}  // namespace airstore::airctl
