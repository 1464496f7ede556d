// SPDX-License-Identifier: Apache-2.0
#include "frontends/nfs/record_reader.h"

#include <arpa/inet.h>

#include <cstring>

namespace airstore::nfs {
namespace {

constexpr uint32_t kLastFragment = 1u << 31;

}  // namespace

std::span<uint8_t> RecordReader::Wanted() {
  if (in_marker_) return marker_;
  return buffer_.subspan(bytes_, fragment_bytes_);
}

RecordReader::State RecordReader::Filled() {
  if (in_marker_) {
    uint32_t marker = 0;
    memcpy(&marker, marker_.data(), sizeof(marker));
    marker = ntohl(marker);
    last_ = (marker & kLastFragment) != 0;
    fragment_bytes_ = marker & ~kLastFragment;
    if (++fragments_ > kMostFragments || fragment_bytes_ > buffer_.size() - bytes_) {
      return State::kBroken;
    }
    in_marker_ = fragment_bytes_ == 0;
    return last_ && in_marker_ ? State::kComplete : State::kMore;
  }
  bytes_ += fragment_bytes_;
  in_marker_ = true;
  return last_ ? State::kComplete : State::kMore;
}

}  // namespace airstore::nfs
