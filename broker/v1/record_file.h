// SPDX-License-Identifier: Apache-2.0
//
// RecordFile: an append-only file of checksummed records, for what a v1 session must know again
// after the death of its broker. It outlives the process, not a loss of power. What is read back is
// a prefix of what was appended.
//
// Threads: one at a time.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "shm/base/fd.h"
#include "shm/base/result.h"

namespace airstore::broker::v1 {

class RecordFile {
 public:
  using OnRecord = std::function<void(std::string_view record)>;

  // Reads what there is and cuts off a torn end. ENOENT: there is no such file.
  static Result<RecordFile> Open(const std::string& path, const OnRecord& on_record);
  // The file has these records from then on, or what it had.
  static Result<RecordFile> Write(const std::string& path, const std::vector<std::string>& records);

  Result<void> Append(std::string_view record);
  uint64_t bytes() const { return bytes_; }

 private:
  RecordFile(UniqueFd file, uint64_t bytes) : file_(std::move(file)), bytes_(bytes) {}

  UniqueFd file_;
  uint64_t bytes_ = 0;
};

// Reads the records of `text`; how many of its bytes made sense.
size_t ReadRecords(std::string_view text, const RecordFile::OnRecord& on_record);

}  // namespace airstore::broker::v1
