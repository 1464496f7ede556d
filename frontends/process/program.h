// SPDX-License-Identifier: Apache-2.0
//
// The program of a frontend: what it is asked to do by its first argument, and what all of them
// have in common.
// Threads: the main one.
#pragma once

#include <string>
#include <string_view>

namespace airstore {

struct FrontendProgram {
  const char* name;
  const char* started_by;  // what users are to call instead
  int (*serve)();
  int (*notify)() = nullptr;  // --notify
  int (*refuse)() = nullptr;  // --refuse
};

// main().
int RunFrontend(const FrontendProgram& program, int argc, char** argv);
// Tells the broker and stderr. What to exit with.
int FailToAttach(const FrontendProgram& program, const std::string& why);

}  // namespace airstore
