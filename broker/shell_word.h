// SPDX-License-Identifier: Apache-2.0
//
// Words of commands that people are told to type.
// Threads: pure functions.
#pragma once

#include <string>

namespace airstore {

// In quotes where a shell would make something else of it.
inline std::string ShellWord(const std::string& word) {
  constexpr char kPlain[] =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:,@%=";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

}  // namespace airstore
