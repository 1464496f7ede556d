// SPDX-License-Identifier: Apache-2.0
//
// Everything about a request that can be judged without looking at the store. What comes from the
// wire is hostile; behind these checks the semantics may rely on names, sizes and flags being sane
// and on sums not overflowing.
//
// Threads: pure functions.
// Fails how: each answers 0 or the errno for the operation.
#pragma once

#include <string>
#include <string_view>

#include "tools/gateway/types.h"

namespace airstore::gateway {

// Extended attributes of one inode.
inline constexpr uint32_t kMaxXattrs = 1024;

// One component: 1..255 bytes, no '/', no NUL, neither "." nor "..". EINVAL, ENAMETOOLONG.
int CheckName(std::string_view name);
// Extended attribute names. EINVAL, ERANGE.
int CheckXattrName(std::string_view name);
// The stateless part of a mutation's rules.
int CheckMutation(const Mutation& mutation);
// A range that ends at most at kMaxFileBytes, and does not wrap. EFBIG.
int CheckRange(uint64_t offset, uint64_t length);

// 1..64 of [A-Za-z0-9._-], not starting with '.'.
bool IsWorkspaceName(std::string_view name);
// What is said to administrators of one that is not there; `name` may be anything.
std::string NoWorkspace(std::string_view name);
// 1..128 bytes of printable ASCII: it goes to logs and listings.
bool IsPrincipal(std::string_view principal);

}  // namespace airstore::gateway
