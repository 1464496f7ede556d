// SPDX-License-Identifier: Apache-2.0
//
// Views: named filters on a source, of a workspace, kept in DATA/sources/WORKSPACE.json.
//
// Threads: any.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "shm/base/result.h"

namespace airstore::gateway {

struct ViewRecord {
  std::string external_id;
  std::string integration;
  std::string name;  // without its extension
  nlohmann::json filter = nlohmann::json::object();
  std::string guidance;
  bool folder = true;     // else one file
  std::string file_ext;   // ".json", of one file
  int32_t cache_ttl = 0;  // seconds; 0: what is local is looked at again soon
  int64_t created = 0, updated = 0, last_executed = 0;  // seconds; last_executed is not kept
  std::string mode = "query";  // "smart": the filter was made of a name or a text

  std::string FileName() const { return folder ? name : name + file_ext; }
  std::string Path() const { return "/Sources/" + integration + "/" + FileName(); }
};

// What `.query.as` shows: keys in the order of the alphabet, two blanks, no newline at the end.
std::string Definition(const ViewRecord& view, const std::string& workspace_id);

class ViewStore {
 public:
  explicit ViewStore(std::string directory) : directory_(std::move(directory)) {}

  Result<std::vector<ViewRecord>> List(const std::string& workspace);
  // Adds or replaces by external_id. EEXIST: another view has the name.
  Result<void> Put(const std::string& workspace, const ViewRecord& view);
  Result<void> Remove(const std::string& workspace, const std::string& external_id);
  void RemoveAll(const std::string& workspace);

 private:
  using Views = std::map<std::string, ViewRecord>;                      // by external_id
  Result<Views*> Load(const std::string& workspace);                    // REQUIRES: mu_
  Result<void> Save(const std::string& workspace, const Views& views);  // REQUIRES: mu_

  const std::string directory_;
  std::mutex mu_;
  std::map<std::string, Views> loaded_;  // guarded by mu_
};

}  // namespace airstore::gateway
