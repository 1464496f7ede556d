// SPDX-License-Identifier: Apache-2.0
//
// What a well-formed call is. The frontend's side answers a call that breaks the rules with an
// errno; the broker's side takes it for a broken frontend. One copy of the rules, so that no name
// a client may send can end a mount.
// Threads: stateless.
#pragma once

#include <string_view>

#include "shm/layout.h"

namespace airstore::shm {

inline constexpr size_t kMaxSymlinkTarget = 4095;
inline constexpr size_t kMaxXattrValue = 65536;
// Bytes: as far as ext4 goes, so that no host has a file that another one cannot have.
inline constexpr uint64_t kGreatestFile = (uint64_t{1} << 44) - 4096;
static_assert(kMaxName + kMaxXattrValue <= kRequestText);

// RequestArgs::flags of kReadRange: what other mounts have stored to maps of the range is to be
// there; it is about to be written.
inline constexpr uint32_t kBeforeWrite = 1;
// Of kAppend: the kernel keeps pages, also where it takes the bytes to go (`offset`).
inline constexpr uint32_t kKeepsPages = 1;

// 0, or ENAMETOOLONG, ERANGE, E2BIG or EINVAL. `args.name_bytes` and `name2_bytes` are not looked
// at.
int CheckRequest(const RequestArgs& args, std::string_view name, std::string_view name2);

// A call whose effect must not happen twice: its answer is kept until the request is answered.
bool HasEffect(Op op);

// Gives something back: made in any case, also when nobody waits for it any more.
bool GivesBack(const RequestArgs& args);

}  // namespace airstore::shm
