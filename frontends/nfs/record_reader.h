// SPDX-License-Identifier: Apache-2.0
//
// RecordReader: puts one RPC record together from the fragments that a stream carries (RFC 5531,
// section 11). It does no I/O: it says where the next bytes belong, and is told when they are
// there. Threads: one.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace airstore::nfs {

class RecordReader {
 public:
  enum class State { kMore, kComplete, kBroken };

  // `buffer`: for the record; a longer one is broken, as is one of too many fragments.
  explicit RecordReader(std::span<uint8_t> buffer) : buffer_(buffer) {}

  // Never empty unless complete or broken.
  std::span<uint8_t> Wanted();
  // All that was wanted is there.
  State Filled();
  // REQUIRES: complete.
  std::span<const uint8_t> record() const { return buffer_.first(bytes_); }

 private:
  static constexpr uint32_t kMostFragments = 64;

  std::span<uint8_t> buffer_;
  std::array<uint8_t, 4> marker_{};
  bool in_marker_ = true;
  bool last_ = false;
  uint32_t fragments_ = 0;
  size_t fragment_bytes_ = 0;  // of the one that is wanted
  size_t bytes_ = 0;           // of the record so far
};

}  // namespace airstore::nfs
