// SPDX-License-Identifier: Apache-2.0
//
// What airstore-shim is asked to do, from its command line and its environment.
// Threads: pure functions, but for reading the configuration file.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "shm/base/result.h"

namespace airstore::shim {

struct Request {
  std::string socket;
  std::string ticket;
  std::string tool;
  std::vector<std::string> arguments;
  bool help = false;  // what the tool's is: --help in front, or -h alone
};

using GetEnv = std::function<const char*(const char*)>;

// `airstore-shim -- TOOL [ARGUMENT...]`; or by a link whose name is the tool's. Socket and ticket
// are in AIRSTORE_TOOL_SOCKET and AIRSTORE_TOOL_TICKET, or in the file AIRSTORE_CONFIG_PATH, or in
// ../.airstore/config beside the link. The message of an error is for people.
Result<Request> ParseRequest(const std::vector<std::string>& arguments, const GetEnv& getenv);
// The value of a string in a flat JSON object as the broker writes it. Empty: there is none.
std::string JsonString(const std::string& json, const std::string& key);

}  // namespace airstore::shim
