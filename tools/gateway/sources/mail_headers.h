// SPDX-License-Identifier: Apache-2.0
//
// The few headers of a mail that views are made by. The bytes are foreign: whatever they are, there
// is an answer.
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace airstore::gateway {

struct MailHeaders {
  std::string from, subject;  // UTF-8, encoded words decoded
  int64_t date = 0;           // seconds since the epoch; 0: none that can be read
};

// `text`: the beginning of the message, at least its headers.
MailHeaders ParseMailHeaders(std::string_view text);

// RFC 2047 words in UTF-8, ISO-8859-1 and US-ASCII; others stay as they are.
std::string DecodeWords(std::string_view text);
// "Sat, 31 Jan 2026 12:00:00 +0100"; 0 when it makes no sense.
int64_t ParseMailDate(std::string_view text);

}  // namespace airstore::gateway
