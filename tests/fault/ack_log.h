// SPDX-License-Identifier: Apache-2.0
//
// Loads that are processes of their own: what they were told is in a log outside of the mount, in
// whatever way they end.
//
// A line of the log is one event: a letter that the program of the load chooses, and numbers.
// "error" is for all: the errno, and what failed.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/fault/load.h"

namespace airstore::fault {

inline constexpr char kLoadFlag[] = "--load";

// The worker's side.
class AckLog {
 public:
  explicit AckLog(const std::string& path);
  ~AckLog();
  AckLog(const AckLog&) = delete;
  AckLog& operator=(const AckLog&) = delete;

  void Line(const std::string& text);
  // A call returned: false when that does not count any more, and the work is over.
  bool Ack(const std::string& text);
  // With errno as it stands. Returns false.
  bool Fail(const std::string& what);
  // Bytes that were read are not those that were written, or the like. Returns false.
  bool Wrong(const std::string& what);
  // All of it at the descriptor's place, or at `offset`. A write ends in the middle when its mount
  // ends between two of its requests: what is left must fail then. False when it did.
  bool Write(int fd, const std::string& bytes, std::optional<off64_t> offset = {});
  bool over() const;

 private:
  std::string path_;
  int fd_ = -1;
};

using LogLines = std::vector<std::vector<std::string>>;  // words

// What the process of a load is told.
struct LoadOrder {
  std::string directory;  // of its own, in the mount
  uint64_t seed = 0;
  bool passthrough = false;  // stores to maps need no msync
};

struct LoadProgram {
  void (*run)(AckLog& log, const LoadOrder& order);
  // What is wrong in `directory`; empty: nothing.
  std::string (*check)(const LogLines& lines, const std::string& directory, const LoadOrder& order,
                       Kept kept);
};
extern const LoadProgram kBlocksProgram;    // random writes, read back
extern const LoadProgram kMapsProgram;      // the same through a shared map
extern const LoadProgram kManifestProgram;  // records appended, some of them synced
extern const LoadProgram kSqliteProgram;    // transactions
extern const LoadProgram kGitProgram;       // commits
const std::map<std::string, LoadProgram>& LoadPrograms();

// In the worker's process: `argv` behind kLoadFlag.
int RunLoad(const std::vector<std::string>& arguments);

// `log_file`: where it keeps its log, and others beside it.
std::unique_ptr<Load> MakeLoggedLoad(const std::string& kind, const std::string& mount,
                                     const std::string& log_file, uint64_t seed, bool passthrough);

}  // namespace airstore::fault
