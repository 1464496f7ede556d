// SPDX-License-Identifier: Apache-2.0
//
// Records in portable form that say anything: what is made from them is sound segments, or nothing.
// The input is the records without the checksum at the end, which is put behind them.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "shm/lane.h"
#include "shm/meta_table.h"
#include "shm/portable.h"

namespace {

using namespace airstore;       // NOLINT: a program of its own
using namespace airstore::shm;  // NOLINT

const SessionId kSession{1};
constexpr uint32_t kMount = 2;

const std::string& Directory() {
  static const std::string path = [] {
    std::string pattern = "/dev/shm/airstore-fuzz-XXXXXX";
    if (mkdtemp(pattern.data()) == nullptr) abort();
    atexit([] { std::filesystem::remove_all(Directory()); });
    return pattern;
  }();
  return path;
}

// From bytes: small kinds and counts, words that are mostly small.
void PutRecord(const uint8_t** data, size_t* size, PortableWriter* out) {
  const auto take = [&]() -> uint8_t {
    if (*size == 0) return 0;
    --*size;
    return *(*data)++;
  };
  const auto kind = static_cast<PortableKind>(take() % 16);
  std::vector<uint64_t> words(take() % 70);
  for (uint64_t& word : words) {
    const uint8_t how = take();
    word = how < 200 ? how % 32 : how < 230 ? uint64_t{take()} << (how % 57) : ~uint64_t{take()};
  }
  std::string text(take() * (take() % 8), 'x');
  for (size_t i = 0; i < std::min<size_t>(text.size(), 4); ++i) text[i] = static_cast<char>(take());
  if (kind == PortableKind::kTables) words = {64 + words.size(), 64, 16, 1, 0};
  if (kind == PortableKind::kLane) words = {take(), take(), kMinArenaBytes, take(), 1};
  if (kind != PortableKind::kEnd) out->Put(kind, words, text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const UniqueFd file(memfd_create("portable-fuzz", MFD_CLOEXEC));
  if (ftruncate(file.get(), 0) != 0 || lseek(file.get(), 0, SEEK_SET) != 0) abort();
  PortableWriter out(file.get());
  if (size != 0 && data[0] % 4 != 0) {
    const uint64_t tables[] = {64, 64, 16, 1, 0};
    out.Put(PortableKind::kTables, tables);
    const uint64_t lane[] = {1, 0, kMinArenaBytes, 64, 1};
    out.Put(PortableKind::kLane, lane);
  }
  while (size != 0) PutRecord(&data, &size, &out);
  if (!out.Finish()) abort();
  const std::string lane_path = Directory() + "/lane";
  const std::string arena_path = Directory() + "/arena";
  if (auto tables = ImportTables(file.get(), kSession)) {
    MetaWriter::Damage damage;
    if (!MetaWriter::Adopt(kSession, **tables, &damage)) abort();
  }
  if (!ImportLane(file.get(), kSession, kMount, lane_path, arena_path)) return 0;
  const auto attach = [](const std::string& path, SegmentKind kind) {
    return Segment::Attach(UniqueFd(open(path.c_str(), O_RDWR | O_CLOEXEC)),
                           {kind, kSession, kMount}, true);
  };
  auto lane = attach(lane_path, SegmentKind::kLane);
  auto arena = attach(arena_path, SegmentKind::kArena);
  if (!lane || !arena) abort();
  auto consumer = LaneConsumer::Adopt(std::move(*lane), std::move(*arena));
  if (!consumer) abort();
  (*consumer)->FrontendGone();
  LaneConsumer::Item item;
  std::string why;
  while ((*consumer)->Pop(&item, &why) == LaneConsumer::Next::kItem) {
  }
  return 0;
}
