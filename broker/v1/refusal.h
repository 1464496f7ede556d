// SPDX-License-Identifier: Apache-2.0
//
// What the texts mean by which v1 gateways refuse.
// Threads: any.
#pragma once

#include <string>
#include <string_view>

#include "shm/base/result.h"

namespace airstore::broker::v1 {

// The errno that a gateway's words stand for; EIO where they are not known: what lies behind the
// gateway speaks through it, and may speak otherwise at the next try.
int ErrnoOf(std::string_view text);

// `stated`: the errno that the gateway has told itself; 0: none.
Error Refusal(const char* call, const std::string& text, int stated);

// The answer is of something behind the gateway that may have failed for a moment.
inline bool MayPass(const Error& error) { return error.code == EIO; }

}  // namespace airstore::broker::v1
