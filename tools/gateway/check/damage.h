// SPDX-License-Identifier: Apache-2.0
//
// What is wrong with a store. Threads: plain values.
#pragma once

#include <cstdint>
#include <string>

#include "tools/gateway/types.h"

namespace airstore::gateway {

struct Damage {
  std::string kind;  // one word, for programs: see airctl(1)
  std::string workspace;
  InodeNo ino = 0;
  std::string path;     // of the inode; empty: it has none, or it is not about one
  std::string block;    // in hexadecimal
  uint64_t offset = 0;  // in the file: what is lost, when `lost_bytes` is not 0
  uint64_t lost_bytes = 0;
  std::string what;    // a sentence
  std::string remedy;  // what a repair does, or has done; empty: it can do nothing
  bool repaired = false;
};

struct CheckTotals {
  uint64_t workspaces = 0;
  uint64_t inodes = 0;
  uint64_t blocks = 0;
  uint64_t content_bytes = 0;  // read and compared with their hashes
  uint64_t damages = 0;        // also those that were too many to list
  uint64_t repaired = 0;
  uint64_t lost_bytes = 0;
  uint64_t removed_blocks = 0;
  uint64_t removed_bytes = 0;  // of those that had a row
};

struct CheckState {
  std::string phase;
  uint64_t done = 0;
  uint64_t total = 0;  // 0: not known
  bool finished = false;
  std::string error;  // why it could not finish
  CheckTotals totals;
};

}  // namespace airstore::gateway
