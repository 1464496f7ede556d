// SPDX-License-Identifier: Apache-2.0
//
// What any program may send to a session's socket, and what may stand where a shim looks for its
// configuration. What was understood is understood again.
#include <cstdio>
#include <cstdlib>

#include "broker/virtual/tool_frame.h"
#include "tools/shim/request.h"

using namespace airstore;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  (void)shim::JsonString(std::string(body), "socket");
  const auto message = tool::Decode(body);
  if (!message) return 0;
  const std::vector<std::string_view> fields(message->fields.begin(), message->fields.end());
  const auto again = tool::Decode(tool::Encode(message->kind, fields));
  if (!again || again->fields != message->fields || again->kind != message->kind) {
    fprintf(stderr, "broken: a message is another one when it is sent on\n");
    abort();
  }
  return 0;
}
