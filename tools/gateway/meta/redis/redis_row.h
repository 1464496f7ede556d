// SPDX-License-Identifier: Apache-2.0
//
// How rows are kept in Redis: numbers as LEB128, texts with their length before them, and numbers
// that are sorted by as eight bytes, the greatest first. Damaged rows must not become damaged
// memory: what does not decode reads as zeros, and ok() says so.
//
// Threads: plain values.
// Ownership: a RowReader borrows the bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace airstore::gateway {

class RowWriter {
 public:
  RowWriter& Number(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_.push_back(static_cast<char>(value | 0x80));
    bytes_.push_back(static_cast<char>(value));
    return *this;
  }
  RowWriter& Signed(int64_t value) { return Number(static_cast<uint64_t>(value)); }
  RowWriter& Text(std::string_view text) {
    Number(text.size());
    bytes_.append(text);
    return *this;
  }
  std::string Take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

class RowReader {
 public:
  explicit RowReader(std::string_view bytes) : bytes_(bytes) {}

  uint64_t Number() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && !bytes_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(bytes_.front());
      bytes_.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    return Damaged();
  }
  int64_t Signed() { return static_cast<int64_t>(Number()); }
  uint32_t Number32() { return static_cast<uint32_t>(Number()); }
  std::string Text() {
    const uint64_t size = Number();
    if (size > bytes_.size()) return Damaged(), std::string();
    std::string text(bytes_.substr(0, size));
    bytes_.remove_prefix(size);
    return text;
  }
  bool ok() const { return ok_; }
  bool at_end() const { return bytes_.empty(); }

 private:
  uint64_t Damaged() {
    ok_ = false;
    bytes_ = {};
    return 0;
  }

  std::string_view bytes_;
  bool ok_ = true;
};

// Sorts as bytes like the number itself.
inline std::string BigEndian(uint64_t value) {
  std::string bytes(8, '\0');
  for (size_t i = 8; i-- > 0; value >>= 8) bytes[i] = static_cast<char>(value);
  return bytes;
}

inline uint64_t FromBigEndian(std::string_view bytes) {
  uint64_t value = 0;
  for (const char c : bytes.substr(0, 8)) value = value << 8 | static_cast<unsigned char>(c);
  return value;
}

}  // namespace airstore::gateway
