// SPDX-License-Identifier: Apache-2.0
//
// What airstore-shim and the broker say to each other over a session's socket. Each message is a
// frame (broker/control_frame.h) whose first byte is its kind and whose rest is fields: a
// little-endian uint32 length, then so many bytes. A connection is one run: closing it ends the
// tool.
//
//   shim to broker    kRun   ticket, tool, argument...
//                     kHelp  ticket, tool
//   broker to shim    kOut   bytes for the standard output
//                     kErr   bytes for the standard error
//                     kExit  exit status (decimal), what went wrong (may be empty)
// Threads: pure functions. Includes nothing of the broker, because the shim includes it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace airstore::tool {

enum class Kind : char { kRun = 'R', kHelp = 'H', kOut = 'o', kErr = 'e', kExit = 'x' };

struct Message {
  Kind kind = Kind::kExit;
  std::vector<std::string> fields;
};

inline constexpr size_t kMostData = 1u << 20;  // of one kOut or kErr

inline std::string Encode(Kind kind, const std::vector<std::string_view>& fields) {
  std::string body(1, static_cast<char>(kind));
  for (const std::string_view field : fields) {
    for (unsigned shift = 0; shift < 32; shift += 8) {
      body += static_cast<char>((field.size() >> shift) & 0xff);
    }
    body += field;
  }
  return body;
}

// nullopt: the body makes no sense.
inline std::optional<Message> Decode(std::string_view body) {
  if (body.empty() || std::string_view("RHoex").find(body[0]) == std::string_view::npos) {
    return std::nullopt;
  }
  Message message;
  message.kind = static_cast<Kind>(body[0]);
  body.remove_prefix(1);
  while (!body.empty()) {
    if (body.size() < 4) return std::nullopt;
    uint32_t length = 0;
    for (unsigned i = 0; i < 4; ++i) {
      length |= uint32_t{static_cast<uint8_t>(body[i])} << (8 * i);
    }
    body.remove_prefix(4);
    if (length > body.size()) return std::nullopt;
    message.fields.emplace_back(body.substr(0, length));
    body.remove_prefix(length);
  }
  return message;
}

}  // namespace airstore::tool
