// SPDX-License-Identifier: Apache-2.0
//
// Where the bytes of an append go whose place was given before they came. The kernel of a mount
// that writes the file itself (passthrough) hears of no such place: it appends at the end.
// Threads: any.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <span>

namespace airstore::broker {

// Of a queued write.
enum class Placing {
  kAtOffset,
  kAppended,    // at the end of the file, which was the offset when it was asked for
  kRepeatedly,  // the same, and it may be in the file already: its broker or frontend has died
};

// As write(2), at the end of the file, whoever else appends to it. `place`: where that was.
ssize_t WriteAtEnd(int fd, std::span<const uint8_t> data, uint64_t* place);

// Where these very bytes are, at `from` or not far behind it.
std::optional<uint64_t> FindAppended(int fd, uint64_t from, std::span<const uint8_t> data);

// For an append that is applied when nobody uses the file any more: the place it was given when
// nothing else is there, or the end of the file. `begun`: it may be in the file already.
uint64_t PlaceOfReplayed(int fd, uint64_t given, std::span<const uint8_t> data, bool begun);

}  // namespace airstore::broker
