// SPDX-License-Identifier: Apache-2.0
//
// AtStake: what the spool of a broker that is dead still has to bring to the gateway, by its
// journal. It reads a copy: the journal is for the next broker.
// Fails how: throws std::runtime_error when there is a journal that cannot be read.
#pragma once

#include <cstdint>
#include <string>

namespace airstore::fault {

struct AtStake {
  uint64_t changes = 0;  // of names and attributes
  uint64_t files = 0;    // whose content may differ from the gateway's
  uint64_t total() const { return changes + files; }
};

AtStake ReadAtStake(const std::string& state_dir);

}  // namespace airstore::fault
