// SPDX-License-Identifier: Apache-2.0
//
// Terminal: a terminal for one program that draws whole screens; as it was when the object goes, or
// when a signal ends the program.
// Threads: one, and one object at a time.
#pragma once

#include <termios.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace airstore::airctl {

class Terminal {
 public:
  // nullptr-like: stdin or stdout is no terminal.
  static std::optional<Terminal> Take();
  Terminal(Terminal&& other) noexcept;
  Terminal& operator=(Terminal&&) = delete;
  ~Terminal();

  struct Size {
    size_t columns = 80;
    size_t rows = 24;
  };
  Size size() const;
  void Draw(const std::vector<std::string>& lines) const;
  // A key that is pressed within that time; 0: none was, or the size has changed. Nothing: the
  // terminal is gone, or a signal ended us.
  std::optional<char> AwaitKey(std::chrono::milliseconds patience) const;

 private:
  explicit Terminal(const termios& before) : before_(before) {}

  std::optional<termios> before_;
};

}  // namespace airstore::airctl
