// SPDX-License-Identifier: Apache-2.0
//
// A journal's records as a damaged disk could give them back: the input is a list of records with
// any type and payload. Whatever they say, reading them ends, and what is made of them obeys the
// rules of JournalState.
#include <cstdio>
#include <cstdlib>

#include "broker/journal_state.h"

namespace {

using namespace airstore;          // NOLINT: a program of its own
using namespace airstore::broker;  // NOLINT

#define REQUIRE(condition)                         \
  do {                                             \
    if (!(condition)) {                            \
      fprintf(stderr, "broken: %s\n", #condition); \
      abort();                                     \
    }                                              \
  } while (0)

// What was understood means the same when it is written and read again.
void CheckRoundTrip(uint16_t type, const AnyRecord& record) {
  std::string first;
  std::visit([&](const auto& typed) { Encode(typed, &first); }, record);
  auto again = Decode(type, {reinterpret_cast<const uint8_t*>(first.data()), first.size()});
  REQUIRE(again);
  std::string second;
  std::visit([&](const auto& typed) { Encode(typed, &second); }, *again);
  REQUIRE(first == second);
}

void CheckRules(JournalState& state) {
  for (const auto& [ticket, record] : state.pending) REQUIRE(ticket < state.next_ticket);
  for (const auto& [sequence, entry] : state.numbered) REQUIRE(sequence < state.next_sequence);
  std::unordered_map<uint64_t, uint64_t> owners;
  for (const auto& [inode, entry] : state.contents.entries()) {
    REQUIRE(entry.inode == inode);
    REQUIRE(owners.emplace(entry.file, inode).second);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  JournalReader reader;
  uint64_t lsn = 1;
  while (size >= 2) {
    const auto type = static_cast<uint16_t>(data[0] % 16);
    const size_t length = std::min<size_t>(data[1] % 48, size - 2);
    const JournalRecord record{.lsn = lsn++, .type = type, .payload = {data + 2, length}};
    if (auto decoded = Decode(type, record.payload)) CheckRoundTrip(type, *decoded);
    reader.Visit(record);
    data += 2 + length;
    size -= 2 + length;
  }
  CheckRules(reader.state());
  return 0;
}
