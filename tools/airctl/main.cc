// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <iostream>

#include "tools/airctl/commands.h"

namespace {

bool WantsColours() {
  const char* term = getenv("TERM");
  return isatty(STDOUT_FILENO) == 1 && getenv("NO_COLOR") == nullptr && term != nullptr &&
         strcmp(term, "dumb") != 0;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace airstore::airctl;
  const GetEnv environment = [](const char* name) -> const char* { return getenv(name); };
  const Parsed parsed = ParseCommandLine(argc, argv, environment);
  int code = parsed.exit_code;
  if (parsed.invocation) {
    code = Run(*parsed.invocation, {std::cout, std::cerr, environment, WantsColours()});
  } else {
    const bool json = !parsed.text.empty() && parsed.text.front() == '{';
    (code == 0 || json ? std::cout : std::cerr) << parsed.text;
  }
  std::cout.flush();
  std::cerr.flush();
  // A thread may still wait for a mount that nobody serves.
  _exit(std::cout.good() ? code : 1);
}
