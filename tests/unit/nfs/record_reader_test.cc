// SPDX-License-Identifier: Apache-2.0
#include "frontends/nfs/record_reader.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

namespace airstore::nfs {
namespace {

constexpr uint32_t kLast = 1u << 31;

std::string Marker(uint32_t word) {
  word = htonl(word);
  return {reinterpret_cast<const char*>(&word), sizeof(word)};
}

// What becomes of a stream: the record, "broken", or "more" when it ends before.
std::string Read(const std::string& stream, size_t room) {
  std::vector<uint8_t> buffer(room);
  RecordReader reader(buffer);
  for (size_t at = 0;;) {
    const auto wanted = reader.Wanted();
    if (wanted.size() > stream.size() - at) return "more";
    memcpy(wanted.data(), stream.data() + at, wanted.size());
    at += wanted.size();
    switch (reader.Filled()) {
      case RecordReader::State::kBroken:
        return "broken";
      case RecordReader::State::kComplete: {
        const auto record = reader.record();
        return {record.begin(), record.end()};
      }
      case RecordReader::State::kMore:
        break;
    }
  }
}

TEST(RecordReader, PutsFragmentsTogether) {
  EXPECT_EQ(Read(Marker(kLast | 5) + "hello", 64), "hello");
  EXPECT_EQ(Read(Marker(2) + "he" + Marker(1) + "l" + Marker(kLast | 2) + "lo", 64), "hello");
  EXPECT_EQ(Read(Marker(0) + Marker(kLast | 5) + "hello", 64), "hello");
  EXPECT_EQ(Read(Marker(5) + "hello" + Marker(kLast), 64), "hello");
  EXPECT_EQ(Read(Marker(kLast), 64), "");
}

TEST(RecordReader, WaitsForTheRest) {
  EXPECT_EQ(Read("", 64), "more");
  EXPECT_EQ(Read(Marker(kLast | 5) + "hell", 64), "more");
  EXPECT_EQ(Read(Marker(5) + "hello", 64), "more");
}

TEST(RecordReader, RefusesWhatDoesNotFit) {
  EXPECT_EQ(Read(Marker(kLast | 5) + "hello", 5), "hello");
  EXPECT_EQ(Read(Marker(kLast | 6) + "hello!", 5), "broken");
  EXPECT_EQ(Read(Marker(4) + "hell" + Marker(kLast | 2) + "o!", 5), "broken");
  EXPECT_EQ(Read(Marker(0x7fffffff), 5), "broken");
}

TEST(RecordReader, RefusesEndlessFragments) {
  std::string stream;
  for (int i = 0; i < 1000; ++i) stream += Marker(0);
  EXPECT_EQ(Read(stream, 5), "broken");
}

}  // namespace
}  // namespace airstore::nfs
