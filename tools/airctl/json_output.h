// SPDX-License-Identifier: Apache-2.0
//
// Any message of the control protocol as JSON: field names as in the .proto, numbers as numbers,
// every field present.
// Threads: pure functions.
#pragma once

#include <google/protobuf/message.h>

#include <string>

namespace airstore::airctl {

// Every field is there, under its name in the .proto.
std::string ToJson(const google::protobuf::Message& message);
// The same on one line.
std::string ToJsonLine(const google::protobuf::Message& message);

}  // namespace airstore::airctl
