// SPDX-License-Identifier: Apache-2.0
//
// What two brokers say to each other at a handover: packets of this one form, on a SEQPACKET
// socket. Its size and the meaning of its fields never change.
#pragma once

#include <cstdint>

namespace airstore::broker {

// Of the descriptor that a program started as a successor finds in its environment.
inline constexpr char kHandoverVariable[] = "AIRSTORE_HANDOVER_FD";

enum class HandoverStep : uint32_t { kHello = 1, kReady = 2, kRefused = 3, kGo = 4, kDone = 5 };

struct HandoverMessage {
  static constexpr uint64_t kMagic = 0x726576646e616861;  // "ahandver" in memory order
  uint64_t magic = kMagic;
  HandoverStep step = HandoverStep::kHello;
  uint32_t reserved = 0;
  uint64_t capabilities = 0;  // what the sender understands, or leaves
  uint64_t needs = 0;
  char version[64] = {};
  char text[512] = {};
};
static_assert(sizeof(HandoverMessage) == 608);

}  // namespace airstore::broker
