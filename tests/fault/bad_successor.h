// SPDX-License-Identifier: Apache-2.0
//
// Programs that do not take over from a broker, each in a way of its own: this test's own program,
// by the name it was started under.
// Threads: main.
#pragma once

#include <string>

namespace airstore::fault {

inline constexpr const char* kBadSuccessors[] = {"silent",   "incapable",       "demanding",
                                                 "refusing", "dies-when-ready", "dies-after-go"};

// True: started as one of them, and over.
bool RunBadSuccessor(const std::string& name);

}  // namespace airstore::fault
