// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/file_data.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstring>

namespace airstore::bench {
namespace {

struct ExtentPlace {
  size_t index;
  unsigned size_class;
  uint64_t begin;  // in the file
  uint64_t size() const { return DataArena::kMinExtent << size_class; }
  uint64_t end() const { return begin + size(); }
};

ExtentPlace PlaceOf(uint64_t offset) {
  const uint64_t page = offset / DataArena::kMinExtent;
  if (page == 0) return {0, 0, 0};
  if (offset < DataArena::kMaxExtent) {
    const unsigned log = static_cast<unsigned>(std::bit_width(page)) - 1;
    return {log + 1U, log, DataArena::kMinExtent << log};
  }
  const uint64_t nth = offset / DataArena::kMaxExtent;
  return {DataArena::kSizeClasses + nth - 1, DataArena::kSizeClasses - 1,
          nth * DataArena::kMaxExtent};
}

char* ZeroExtent() {
  static std::array<char, DataArena::kMaxExtent> zeros{};
  return zeros.data();
}

}  // namespace

Result<std::unique_ptr<DataArena>> DataArena::Create(uint64_t bytes) {
  UniqueFd fd(memfd_create("airstore-null-data", MFD_CLOEXEC));
  if (!fd) return SysError("memfd_create");
  if (ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) return SysError("grow memfd");
  void* base =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd.get(), 0);
  if (base == MAP_FAILED) return SysError("map memfd");
  return std::unique_ptr<DataArena>(new DataArena(std::move(fd), static_cast<char*>(base), bytes));
}

DataArena::~DataArena() { munmap(base_, bytes_); }

char* DataArena::Allocate(unsigned size_class) {
  const uint64_t size = kMinExtent << size_class;
  char* extent = nullptr;
  {
    const std::lock_guard lock(mutex_);
    auto& free_extents = free_[size_class];
    if (free_extents.empty()) {
      if (used_ + size > bytes_) return nullptr;
      extent = base_ + used_;
      used_ += size;
      return extent;  // never written: zero
    }
    extent = free_extents.back();
    free_extents.pop_back();
  }
  memset(extent, 0, size);
  return extent;
}

void DataArena::Free(char* extent, unsigned size_class) {
  const std::lock_guard lock(mutex_);
  free_[size_class].push_back(extent);
}

void FileData::Read(uint64_t offset, uint64_t size, std::vector<iovec>* out) const {
  const uint64_t end = std::min(offset + size, size_);
  while (offset < end) {
    const ExtentPlace place = PlaceOf(offset);
    char* extent = place.index < extents_.size() ? extents_[place.index] : nullptr;
    if (extent == nullptr) extent = ZeroExtent();
    const uint64_t part = std::min(end, place.end()) - offset;
    out->push_back({extent + (offset - place.begin), part});
    offset += part;
  }
}

int FileData::Write(uint64_t offset, const char* data, uint64_t size) {
  const uint64_t end = offset + size;
  while (offset < end) {
    const ExtentPlace place = PlaceOf(offset);
    if (place.index >= extents_.size()) extents_.resize(place.index + 1);
    char*& extent = extents_[place.index];
    if (extent == nullptr) extent = arena_->Allocate(place.size_class);
    if (extent == nullptr) return ENOSPC;
    const uint64_t part = std::min(end, place.end()) - offset;
    memcpy(extent + (offset - place.begin), data, part);
    data += part;
    offset += part;
    size_ = std::max(size_, offset);
  }
  return 0;
}

void FileData::Truncate(uint64_t size) {
  if (size < size_) {
    const size_t kept = size == 0 ? 0 : PlaceOf(size - 1).index + 1;
    for (size_t i = kept; i < extents_.size(); ++i) {
      if (extents_[i] == nullptr) continue;
      const unsigned nth = i == 0 ? 0 : static_cast<unsigned>(i) - 1;
      arena_->Free(extents_[i], std::min(nth, DataArena::kSizeClasses - 1));
    }
    if (kept < extents_.size()) extents_.resize(kept);
    if (kept > 0 && kept == extents_.size() && extents_.back() != nullptr) {
      const ExtentPlace place = PlaceOf(size - 1);
      memset(extents_.back() + (size - place.begin), 0, place.end() - size);
    }
  }
  size_ = size;
}

}  // namespace airstore::bench
