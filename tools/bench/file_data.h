// SPDX-License-Identifier: Apache-2.0
//
// Content of the null server's files: extents of one large sparse memfd that is mapped once, so
// that a read is answered with pointers into the mapping and a write is one memcpy.
//
// Extent sizes follow from the offset in the file (4 KiB, 4, 8, 16 .. 512 KiB, then 1 MiB each): a
// small file wastes little, and an aligned 1 MiB request of a large one is one extent.
// Threads: DataArena locks itself; a FileData is guarded by its owner.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "shm/base/fd.h"
#include "shm/base/result.h"

namespace airstore::bench {

class DataArena {
 public:
  static constexpr unsigned kSizeClasses = 9;  // 4 KiB << class
  static constexpr uint64_t kMinExtent = 4096;
  static constexpr uint64_t kMaxExtent = kMinExtent << (kSizeClasses - 1);

  // `bytes` is address space: memory is taken as it is written.
  static Result<std::unique_ptr<DataArena>> Create(uint64_t bytes);
  DataArena(const DataArena&) = delete;
  DataArena& operator=(const DataArena&) = delete;
  ~DataArena();

  // Zeroed extent of a size class, or nullptr when the arena is full.
  char* Allocate(unsigned size_class);
  void Free(char* extent, unsigned size_class);

 private:
  DataArena(UniqueFd fd, char* base, uint64_t bytes)
      : fd_(std::move(fd)), base_(base), bytes_(bytes) {}

  const UniqueFd fd_;
  char* const base_;
  const uint64_t bytes_;

  std::mutex mutex_;
  uint64_t used_ = 0;                                  // guarded by mutex_
  std::array<std::vector<char*>, kSizeClasses> free_;  // guarded by mutex_
};

class FileData {
 public:
  explicit FileData(DataArena* arena) : arena_(arena) {}
  FileData(const FileData&) = delete;
  FileData& operator=(const FileData&) = delete;
  ~FileData() { Truncate(0); }

  uint64_t size() const { return size_; }
  // Appends pointers to [offset, offset + size) cut at the end of the file.
  void Read(uint64_t offset, uint64_t size, std::vector<iovec>* out) const;
  // 0 or an errno.
  int Write(uint64_t offset, const char* data, uint64_t size);
  void Truncate(uint64_t size);

 private:
  DataArena* const arena_;
  uint64_t size_ = 0;
  std::vector<char*> extents_;  // nullptr is a hole; bytes past size_ are zero
};

}  // namespace airstore::bench
