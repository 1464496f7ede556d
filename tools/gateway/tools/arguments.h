// SPDX-License-Identifier: Apache-2.0
//
// Between a command line and the JSON object that an MCP tool takes, by the tool's JSON schema:
// --name value, --name=value, --flag, --no-flag; a flag that is an array may come several times;
// what is an object, or of any type, is given as JSON.
//
// Threads: pure functions.
#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

#include "shm/base/result.h"

namespace airstore::gateway {

// EINVAL: says which flag is wrong and what is expected.
Result<nlohmann::json> ParseArguments(const nlohmann::json& schema,
                                      const std::vector<std::string>& arguments);

// The flags of a schema, a line each with its type, what it means, and whether it is required.
std::string DescribeArguments(const nlohmann::json& schema);

}  // namespace airstore::gateway
