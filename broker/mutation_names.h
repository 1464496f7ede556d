// SPDX-License-Identifier: Apache-2.0
//
// What a mutation is called, and what it is about, for messages to people.
// Threads: any.
#pragma once

#include <cstdint>
#include <iterator>
#include <variant>

#include "broker/gateway.h"

namespace airstore::broker {

inline const char* MutationName(const Mutation& mutation) {
  static constexpr const char* kNames[] = {"create", "link",  "unlink",   "rename",     "setattr",
                                           "write",  "touch", "setxattr", "removexattr"};
  static_assert(std::size(kNames) == std::variant_size_v<decltype(mutation.op)>);
  return kNames[mutation.op.index()];
}

// The inode it changes; of a rename, the directory it goes to.
inline uint64_t SubjectOf(const Mutation& mutation) {
  return std::visit(
      [](const auto& op) {
        if constexpr (std::is_same_v<std::remove_cvref_t<decltype(op)>, RenameOp>) {
          return op.new_parent;
        } else {
          return op.inode;
        }
      },
      mutation.op);
}

}  // namespace airstore::broker
