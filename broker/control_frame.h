// SPDX-License-Identifier: Apache-2.0
//
// Frames of the control socket: a little-endian uint32 length, then so many bytes.
// Threads: pure functions.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace airstore::control {

inline constexpr size_t kFrameHeaderBytes = 4;
inline constexpr uint32_t kGreatestFrameBytes = 4u << 20;

using FrameHeader = std::array<uint8_t, kFrameHeaderBytes>;

inline uint32_t FrameLength(const FrameHeader& header) {
  return static_cast<uint32_t>(header[0]) | static_cast<uint32_t>(header[1]) << 8 |
         static_cast<uint32_t>(header[2]) << 16 | static_cast<uint32_t>(header[3]) << 24;
}

// REQUIRES: body.size() <= kGreatestFrameBytes
inline std::string MakeFrame(const std::string& body) {
  const auto length = static_cast<uint32_t>(body.size());
  std::string frame;
  frame.reserve(kFrameHeaderBytes + body.size());
  for (unsigned shift = 0; shift < 32; shift += 8) {
    frame += static_cast<char>((length >> shift) & 0xff);
  }
  return frame + body;
}

}  // namespace airstore::control
