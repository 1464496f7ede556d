// SPDX-License-Identifier: Apache-2.0
//
// SipHash-2-4 (Aumasson and Bernstein, 2012): a keyed hash that is a message authentication code
// for short messages. What is hashed with XXH3 and a secret can be forged by who sees enough of it;
// HMAC would cost libcrypto in each frontend and twenty times the time of a lookup.
// Threads: pure.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace airstore {

using SipKey = std::array<uint8_t, 16>;

uint64_t SipHash(const SipKey& key, std::span<const uint8_t> bytes);

}  // namespace airstore
