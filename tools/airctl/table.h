// SPDX-License-Identifier: Apache-2.0
//
// Table: aligned columns on a terminal, colours where they help and are wanted.
// Threads: a plain value.
#pragma once

#include <ostream>
#include <string>
#include <vector>

namespace airstore::airctl {

enum class Colour { kNone, kGood, kWarn, kBad, kBold };

// Without colours when `colours` is false.
std::string Painted(const std::string& text, Colour colour, bool colours);

struct Cell {
  Cell(std::string from, Colour in = Colour::kNone)  // NOLINT: a cell is a text
      : text(std::move(from)), colour(in) {}
  Cell(const char* from) : text(from) {}  // NOLINT: a cell is a text

  std::string text;
  Colour colour = Colour::kNone;
};

class Table {
 public:
  // A title that ends in '>' makes a column of numbers, aligned to the right.
  explicit Table(std::vector<std::string> titles);
  // REQUIRES: as many cells as titles
  void Add(std::vector<Cell> row);
  void Print(std::ostream& out, bool colours) const;

 private:
  std::vector<std::string> titles_;
  std::vector<bool> to_the_right_;
  std::vector<std::vector<Cell>> rows_;
};

}  // namespace airstore::airctl
