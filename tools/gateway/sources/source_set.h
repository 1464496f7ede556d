// SPDX-License-Identifier: Apache-2.0
//
// The sources of a gateway and the views on them, as a tree of INTEGRATION/VIEW/FILE. Results of a
// view are kept for a while; contents are read from the source in the ranges that are asked for.
//
// Threads: any. A query of one view is run once for all who ask at the same time.
// Ownership: owns providers and views.
// Fails with errnos and the texts of v1.
#pragma once

#include <memory>
#include <mutex>
#include <set>

#include "tools/gateway/clock.h"
#include "tools/gateway/config.h"
#include "tools/gateway/sources/provider.h"
#include "tools/gateway/sources/view.h"

namespace airstore::gateway {

// One answer must fit into a message.
inline constexpr uint64_t kMaxSourceAnswer = 15ull << 20;

struct SourceUser {
  std::string workspace_id, workspace_name;
  bool read_only = false;
};

struct SourceNode {
  std::string name;
  bool directory = false;
  uint64_t size = 0;
  int64_t mtime = 0;
  uint32_t mode = 0100644;
  std::string result_id;
  int32_t children = 0;
};

struct SourceContent {
  std::string data;
  std::string integration, view_path, result_id;  // of results
};

class SourceSet {
 public:
  SourceSet(const Config& config, const std::string& directory);

  bool AnyFor(const std::string& workspace_name) const;
  Result<SourceNode> Stat(const SourceUser& user, const std::string& path);
  Result<std::vector<SourceNode>> List(const SourceUser& user, const std::string& path);
  // `length` 0: to the end. EFBIG: more than one answer holds.
  Result<SourceContent> Read(const SourceUser& user, const std::string& path, uint64_t offset,
                             uint64_t length);

  // `path` as the mount has it ("/Sources/mail/unread", in either spelling), or without the root.
  Result<std::optional<ViewRecord>> FindView(const SourceUser& user, const std::string& path);
  Result<std::vector<ViewRecord>> Views(const SourceUser& user, const std::string& parent_path);
  // Fills in what is not given. A filter, or a text that means one: guidance, or the name.
  Result<ViewRecord> CreateView(const SourceUser& user, ViewRecord view, const std::string& filter);
  Result<ViewRecord> UpdateView(const SourceUser& user, const std::string& external_id,
                                const std::string& name, const std::string& guidance,
                                const std::string& filter);
  Result<void> DeleteView(const SourceUser& user, const std::string& external_id);
  // The results, of one view; `before`: how many there were.
  Result<std::vector<SourceNode>> Execute(const SourceUser& user, const ViewRecord& view);
  Result<ViewRecord> Sync(const SourceUser& user, const std::string& external_id, size_t* results,
                          size_t* fresh);
  Result<std::vector<SourceResourceInfo>> Resources(const SourceUser& user,
                                                    const std::string& integration,
                                                    const std::string& type);
  // The workspace is gone.
  void Forget(const std::string& workspace_id) { views_.RemoveAll(workspace_id); }
  // The content of a result, whole.
  Result<std::string> ResultContent(const SourceUser& user, const ViewRecord& view,
                                    const std::string& name, const std::string& id);

 private:
  struct Source {
    SourceConfig config;
    WorkspaceNames workspaces;
    std::unique_ptr<SourceProvider> provider;
    std::mutex query_mu_;  // one query at a time
  };
  using Items = std::shared_ptr<const std::vector<SourceItem>>;
  struct Cached {
    Items items;
    size_t bytes = 0;
    SteadyTime at;
    int64_t executed = 0;
    nlohmann::json filter;
  };
  struct Place;  // what a path names

  Source* Find(const SourceUser& user, const std::string& integration);
  Result<ViewRecord> ViewById(const SourceUser& user, const std::string& external_id);
  Result<Items> Run(const SourceUser& user, Source& source, const ViewRecord& view, bool again);
  Result<Place> Locate(const SourceUser& user, const std::string& path);
  std::string Readme(const Source& source);
  std::string FileOf(const ViewRecord& view, const std::vector<SourceItem>& items) const;
  Result<std::string> Whole(const SourceUser& user, const Place& place);
  Result<std::vector<SourceNode>> ListSource(const SourceUser& user, Source& source);
  int64_t Executed(const SourceUser& user, const ViewRecord& view);

  std::vector<std::unique_ptr<Source>> sources_;
  ViewStore views_;
  std::mutex mu_;
  std::map<std::string, Cached> cache_;  // guarded by mu_; by workspace and view
};

}  // namespace airstore::gateway
