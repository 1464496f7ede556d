// SPDX-License-Identifier: Apache-2.0
//
// BlockStore: blocks that were stored ahead of the write that refers to them. A v1 gateway has no
// place for them, so they lie in a file without a name until that write is made. After the death of
// the broker whatever referred to them is sent as a whole.
//
// Threads: the event loop.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "broker/gateway.h"
#include "shm/base/fd.h"

namespace airstore::broker::v1 {

class BlockStore {
 public:
  // `directory` exists when the first block comes.
  void SetDirectory(std::string directory) { directory_ = std::move(directory); }
  Result<void> Put(const BlockId& id, const std::string& data);
  // EIO: there is no such block, or it is shorter.
  Result<std::string> Get(const BlockId& id, uint64_t offset, uint64_t length) const;
  void Drop(const BlockId& id);

 private:
  struct Place {
    uint64_t offset = 0;
    uint64_t length = 0;
  };
  std::string directory_;
  UniqueFd file_;
  uint64_t end_ = 0;
  std::map<std::array<uint8_t, 16>, Place> places_;
};

}  // namespace airstore::broker::v1
