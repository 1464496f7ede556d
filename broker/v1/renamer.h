// SPDX-License-Identifier: Apache-2.0
//
// Renamer: renames at a v1 gateway. The original copies and removes objects one by one, the first
// thousand of a directory, and may stop half-way; so this looks what is left, and goes on until
// nothing is. A rename that was cut off is begun again, and finds less to do.
//
// Threads: the event loop.
#pragma once

#include <string>

#include "broker/v1/resolver.h"
#include "broker/v1/site.h"

namespace airstore::broker::v1 {

class Renamer {
 public:
  Renamer(Site* site, Resolver* resolver) : site_(site), resolver_(resolver) {}

  // `again`: it may have been made, or half of it.
  Task<Result<void>> Rename(const RenameOp* op, bool again);
  // So that a directory of the original that has no object of its own does not go with the last
  // name in it.
  Task<Result<void>> KeepDirectory(uint64_t inode);

 private:
  Task<Result<void>> Check(const RenameOp* op, const Info* from, std::string to, bool again);
  Task<Result<void>> MoveFile(std::string from, std::string to, Info info);
  Task<Result<void>> MoveDirectory(uint64_t directory, std::string from, std::string to, Info info);
  // Of what is left of it, the first page. The first name that was moved; empty: there was none.
  Task<Result<std::string>> MoveSome(uint64_t directory, std::string from, std::string to);
  uint64_t Below(uint64_t directory, const std::string& path) const;
  Task<Result<void>> CopyFile(std::string from, std::string to, Info info);

  Site* site_;
  Resolver* resolver_;
};

}  // namespace airstore::broker::v1
