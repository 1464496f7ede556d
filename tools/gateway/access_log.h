// SPDX-License-Identifier: Apache-2.0
//
// What was read, as mounts tell it: DATA/access/WORKSPACE.jsonl, a JSON object a line. A file that
// is full is renamed (.1, .2, ...) and the oldest goes, so that a workspace takes a bounded room.
//
// It is a record for people, not a ledger: it is written without syncs.
//
// Threads: any.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <unordered_set>
#include <vector>

#include "shm/base/result.h"
#include "tools/gateway/clock.h"

namespace airstore::gateway {

struct AccessEvent {
  std::string event_id;
  int64_t ts_ms = 0;
  std::string session, path, cache_source;
  int64_t offset = 0;
  int64_t requested_bytes = 0, read_bytes = 0, latency_ms = 0;
  std::string error, mount, origin, integration, source_uri, query_path, result_id;
  int64_t original_bytes = 0, compressed_bytes = 0, original_tokens = 0, compressed_tokens = 0;
  std::string strategy, outcome;
  int64_t compression_ms = 0, fetch_ms = 0;
};

struct AccessQuery {
  std::string path;      // it and what is below it; empty: all
  int64_t since_ms = 0;  // not before
  size_t most = 1000;    // the newest ones
};

class AccessLog {
 public:
  explicit AccessLog(std::string directory, uint64_t file_bytes = 16ull << 20, int files = 4)
      : directory_(std::move(directory)), file_bytes_(file_bytes), files_(files) {}

  // Those whose id was seen in the last 15 minutes are left out. `workspace`: its id. What is empty
  // is filled in as v1 says.
  Result<void> Add(const std::string& workspace, std::vector<AccessEvent> events);
  void Remove(const std::string& workspace);
  // Oldest first.
  Result<std::vector<AccessEvent>> Find(const std::string& workspace, const AccessQuery& query);

 private:
  struct Seen {
    std::unordered_set<uint64_t> ids;  // hashes of theirs
    std::deque<std::pair<SteadyTime, uint64_t>> order;
  };
  static void Remember(Seen& seen, uint64_t id);  // REQUIRES: mu_
  std::string PathOf(const std::string& workspace, int generation) const;
  void Rotate(const std::string& workspace) const;  // REQUIRES: mu_

  const std::string directory_;
  const uint64_t file_bytes_;
  const int files_;
  std::mutex mu_;
  std::map<std::string, Seen> seen_;  // guarded by mu_
};

}  // namespace airstore::gateway
