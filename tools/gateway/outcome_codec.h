// SPDX-License-Identifier: Apache-2.0
//
// How outcomes of consecutive sequences are kept, so that a repeated mutation gets its first
// answer: one blob a batch, of LEB128 numbers: for each mutation its errno, the number of versions,
// and those (inode, version, content version). Engines store it as bytes.
//
// Threads: pure functions.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tools/gateway/types.h"

namespace airstore::gateway {

std::string EncodeOutcomes(std::span<const MutationOutcome> outcomes);
// Sequences count up from `first`. Nothing: the bytes are damaged.
std::optional<std::vector<MutationOutcome>> DecodeOutcomes(uint64_t first, std::string_view data);

}  // namespace airstore::gateway
