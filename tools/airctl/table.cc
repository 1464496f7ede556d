// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/table.h"

#include <algorithm>

#include "tools/airctl/format.h"

namespace airstore::airctl {
namespace {

constexpr size_t kGap = 2;

// Characters, not bytes: continuation bytes of UTF-8 take no room.
size_t Width(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

}  // namespace

std::string Painted(const std::string& text, Colour colour, bool colours) {
  if (!colours) return text;
  switch (colour) {
    case Colour::kGood:
      return "\033[32m" + text + "\033[0m";
    case Colour::kWarn:
      return "\033[33m" + text + "\033[0m";
    case Colour::kBad:
      return "\033[31m" + text + "\033[0m";
    case Colour::kBold:
      return "\033[1m" + text + "\033[0m";
    case Colour::kNone:
      break;
  }
  return text;
}

Table::Table(std::vector<std::string> titles) : titles_(std::move(titles)) {
  for (std::string& title : titles_) {
    to_the_right_.push_back(!title.empty() && title.back() == '>');
    if (to_the_right_.back()) title.pop_back();
  }
}

void Table::Add(std::vector<Cell> row) {
  for (Cell& cell : row) {
    cell.text = cell.text.empty() ? "-" : Printable(cell.text);
  }
  rows_.push_back(std::move(row));
}

void Table::Print(std::ostream& out, bool colours) const {
  std::vector<size_t> widths;
  for (const std::string& title : titles_) widths.push_back(Width(title));
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], Width(row[i].text));
  }
  const auto print = [&](size_t column, const std::string& text, Colour colour) {
    const std::string room(widths[column] - Width(text), ' ');
    const bool last = column + 1 == titles_.size();
    if (to_the_right_[column]) out << room;
    out << Painted(text, colour, colours);
    if (!to_the_right_[column] && !last) out << room;
    out << (last ? "\n" : std::string(kGap, ' '));
  };
  for (size_t i = 0; i < titles_.size(); ++i) print(i, titles_[i], Colour::kBold);
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) print(i, row[i].text, row[i].colour);
  }
}

}  // namespace airstore::airctl
