// SPDX-License-Identifier: Apache-2.0
//
// Exerciser: random reads, writes, maps, cuts, holes and copies of one file, by one or several
// descriptors, against a string that is what the file must be.
// Fails how: throws std::runtime_error that says what differs and what was done before.
// Threads: the test's.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "shm/base/fd.h"

namespace airstore::model {

struct ExerciserOptions {
  std::vector<std::string> paths;  // of the one file, by each mount
  uint64_t seed = 0;
  size_t most_bytes = 300'000;
  bool direct = false;  // O_DIRECT, whole pages, no maps
  // A program asks for the size before it maps, copies or seeks.
  bool asks_for_size = false;
};

class Exerciser {
 public:
  // Makes the file.
  explicit Exerciser(ExerciserOptions options);
  void Step();
  // The whole file, by every path, through descriptors of its own.
  void CompareAll();
  // Closes all descriptors; Step opens new ones.
  void CloseAll();
  const std::string& content() const { return content_; }
  // "write 103, read 98, ..."; what the file system does not offer is said to be "refused".
  std::string Summary() const;

 private:
  struct Range {
    off_t offset;
    size_t length;
  };
  struct Operation {
    const char* name;
    void (Exerciser::*run)();
    size_t done = 0;
    bool refused = false;
  };

  uint64_t Below(uint64_t limit) { return random_() % limit; }
  size_t Unit() const { return options_.direct ? 4096 : 1; }
  Range AnyRange(size_t limit);  // not empty, may go beyond the end
  Range RangeWithin();           // of the file; empty when the file is
  std::string Bytes(size_t length);
  void OpenAll();
  int AnyFd();
  int SizedFd();
  void Note(const std::string& line);
  void Require(bool holds, const std::string& what);
  void RequireSize(int fd);
  void Check(const Range& range, const char* found, size_t got);
  void Grow(size_t size);
  // What fallocate(2) was asked for; false when it is not offered.
  bool Allocate(int mode, const Range& range, const char* name);

  void Read();
  void Write();
  void Append();
  void MapRead();
  void MapWrite();
  void Truncate();
  void Punch();
  void Zero();
  void Extend();
  void Copy();
  void Reopen();
  void Sync();
  void Drop();
  void Seek();

  ExerciserOptions options_;
  std::mt19937_64 random_;
  std::string content_;
  std::vector<UniqueFd> fds_;
  std::vector<Operation> operations_;
  std::deque<std::string> history_;
  size_t steps_ = 0;
};

}  // namespace airstore::model
