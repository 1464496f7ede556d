// SPDX-License-Identifier: Apache-2.0
//
// SourceSet: views and their results.
#include <algorithm>

#include "tools/gateway/auth.h"
#include "tools/gateway/json_depth.h"
#include "tools/gateway/sources/place.h"
#include "tools/gateway/tools/tool.h"

namespace airstore::gateway {
namespace {

using nlohmann::json;

// How long results of a view are good that says nothing itself.
constexpr std::chrono::seconds kFresh{5};
constexpr size_t kMostCached = 256;
constexpr size_t kMostCachedBytes = 256u << 20;
// Views are kept, and shown whole.
constexpr size_t kMostGuidanceBytes = 4096;
constexpr size_t kMostFilterBytes = 16384;

int64_t Now() { return WallClockNs() / 1'000'000'000; }

std::string KeyOf(const SourceUser& user, const ViewRecord& view) {
  return user.workspace_id + "/" + view.external_id;
}

// Without the slashes at the ends, and without the root of the sources in either spelling.
std::string Relative(std::string path) {
  while (!path.empty() && path.front() == '/') path.erase(0, 1);
  while (!path.empty() && path.back() == '/') path.pop_back();
  for (const std::string root : {"Sources", "sources"}) {
    if (path == root) return "";
    if (path.starts_with(root + "/")) return path.substr(root.size() + 1);
  }
  return path;
}

Result<json> ParseFilter(const std::string& text) {
  if (text.size() > kMostFilterBytes || NestsTooDeep(text))
    return Error{EINVAL, "filter: too large"};
  json filter = json::parse(text, nullptr, false);
  if (!filter.is_object()) return Error{EINVAL, "filter: expected a JSON object"};
  return Result<json>(std::move(filter));
}

size_t BytesOf(const std::vector<SourceItem>& items) {
  constexpr size_t kFixed = 512;
  size_t bytes = 0;
  for (const SourceItem& item : items) {
    bytes +=
        kFixed + item.id.size() + 2 * item.name.size() + (item.content ? item.content->size() : 0);
  }
  return bytes;
}

Result<void> CheckGuidance(const std::string& guidance) {
  if (guidance.size() <= kMostGuidanceBytes) return {};
  return Error{EINVAL, "guidance: at most 4096 bytes"};
}

Error ReadOnly() { return Error{EROFS, "the token is read-only"}; }

}  // namespace

Result<SourceSet::Items> SourceSet::Run(const SourceUser& user, Source& source,
                                        const ViewRecord& view, bool again) {
  const std::string key = KeyOf(user, view);
  const auto limit = view.cache_ttl > 0 ? std::chrono::seconds(view.cache_ttl) : kFresh;
  const auto cached = [&]() -> Items {
    std::lock_guard lock(mu_);
    const auto found = cache_.find(key);
    if (found == cache_.end() || found->second.filter != view.filter ||
        SteadyNow() - found->second.at > limit) {
      return nullptr;
    }
    return found->second.items;
  };
  if (Items items = again ? nullptr : cached()) return items;
  std::lock_guard one(source.query_mu_);
  // Whoever waited here finds what the one before has fetched.
  if (Items items = again ? nullptr : cached()) return items;
  auto results = source.provider->Query(view.filter);
  if (!results) return results.error();
  Items items = std::make_shared<const std::vector<SourceItem>>(std::move(*results));
  const size_t bytes = BytesOf(*items);
  std::lock_guard lock(mu_);
  cache_.erase(key);
  size_t cached_bytes = bytes;
  for (const auto& [of, kept] : cache_) cached_bytes += kept.bytes;
  while (!cache_.empty() && (cache_.size() >= kMostCached || cached_bytes > kMostCachedBytes)) {
    const auto oldest =
        std::min_element(cache_.begin(), cache_.end(),
                         [](const auto& a, const auto& b) { return a.second.at < b.second.at; });
    cached_bytes -= oldest->second.bytes;
    cache_.erase(oldest);
  }
  cache_[key] = {items, bytes, SteadyNow(), Now(), view.filter};
  return items;
}

int64_t SourceSet::Executed(const SourceUser& user, const ViewRecord& view) {
  std::lock_guard lock(mu_);
  const auto found = cache_.find(KeyOf(user, view));
  return found == cache_.end() ? 0 : found->second.executed;
}

Result<std::vector<ViewRecord>> SourceSet::Views(const SourceUser& user,
                                                 const std::string& parent_path) {
  const std::string parent = Relative(parent_path);
  auto views = views_.List(user.workspace_id);
  if (!views) return views.error();
  std::vector<ViewRecord> below;
  for (ViewRecord& view : *views) {
    if (!parent.empty() && view.integration != parent) continue;
    if (Find(user, view.integration) == nullptr) continue;
    view.last_executed = Executed(user, view);
    below.push_back(std::move(view));
  }
  std::sort(below.begin(), below.end(),
            [](const ViewRecord& a, const ViewRecord& b) { return a.Path() < b.Path(); });
  return below;
}

Result<std::optional<ViewRecord>> SourceSet::FindView(const SourceUser& user,
                                                      const std::string& path) {
  auto views = Views(user, "");
  if (!views) return views.error();
  const std::string wanted = Relative(path);
  for (ViewRecord& view : *views) {
    if (view.integration + "/" + view.FileName() == wanted) return std::optional(std::move(view));
  }
  return std::optional<ViewRecord>();
}

Result<ViewRecord> SourceSet::ViewById(const SourceUser& user, const std::string& external_id) {
  auto views = Views(user, "");
  if (!views) return views.error();
  for (ViewRecord& view : *views) {
    if (view.external_id == external_id) return std::move(view);
  }
  return Error{ENOENT, "query not found"};
}

Result<ViewRecord> SourceSet::CreateView(const SourceUser& user, ViewRecord view,
                                         const std::string& filter) {
  if (user.read_only) return ReadOnly();
  AIRSTORE_TRY(CheckGuidance(view.guidance));
  Source* source = Find(user, view.integration);
  if (source == nullptr) return Error{EINVAL, "unsupported integration: " + view.integration};
  if (!IsToolName(view.FileName()) || view.FileName() == "README.md") {
    return Error{EINVAL, "name: cannot be the name of a view"};
  }
  auto parsed = !filter.empty()
                    ? ParseFilter(filter)
                    : source->provider->Infer(view.guidance.empty() ? view.name : view.guidance);
  if (!parsed) return parsed.error();
  AIRSTORE_TRY(source->provider->CheckFilter(*parsed));
  view.filter = std::move(*parsed);
  view.mode = filter.empty() ? "smart" : "query";
  view.external_id = "view_" + NewTokenId().substr(4);
  view.created = view.updated = Now();
  AIRSTORE_TRY(views_.Put(user.workspace_id, view));
  return view;
}

Result<ViewRecord> SourceSet::UpdateView(const SourceUser& user, const std::string& external_id,
                                         const std::string& name, const std::string& guidance,
                                         const std::string& filter) {
  if (user.read_only) return ReadOnly();
  AIRSTORE_TRY(CheckGuidance(guidance));
  auto view = ViewById(user, external_id);
  if (!view) return view.error();
  Source* source = Find(user, view->integration);
  if (!name.empty()) view->name = name;
  if (!guidance.empty()) view->guidance = guidance;
  if (!IsToolName(view->FileName()) || view->FileName() == "README.md") {
    return Error{EINVAL, "name: cannot be the name of a view"};
  }
  if (!filter.empty() || (!guidance.empty() && view->mode == "smart")) {
    auto parsed = !filter.empty() ? ParseFilter(filter) : source->provider->Infer(view->guidance);
    if (!parsed) return parsed.error();
    AIRSTORE_TRY(source->provider->CheckFilter(*parsed));
    view->filter = std::move(*parsed);
    if (!filter.empty()) view->mode = "query";
  }
  view->updated = Now();
  AIRSTORE_TRY(views_.Put(user.workspace_id, *view));
  return view;
}

Result<void> SourceSet::DeleteView(const SourceUser& user, const std::string& external_id) {
  if (user.read_only) return ReadOnly();
  return views_.Remove(user.workspace_id, external_id);
}

Result<std::vector<SourceNode>> SourceSet::Execute(const SourceUser& user, const ViewRecord& view) {
  Source* source = Find(user, view.integration);
  if (source == nullptr) return Error{ENOENT, "integration not available"};
  auto items = Run(user, *source, view, false);
  if (!items) return items.error();
  std::vector<SourceNode> nodes;
  nodes.reserve((*items)->size());
  for (const SourceItem& item : **items) {
    SourceNode& node = nodes.emplace_back();
    node.name = item.name;
    node.size = item.size;
    node.mtime = item.mtime;
    node.result_id = item.id;
  }
  return nodes;
}

Result<ViewRecord> SourceSet::Sync(const SourceUser& user, const std::string& external_id,
                                   size_t* results, size_t* fresh) {
  auto view = ViewById(user, external_id);
  if (!view) return view.error();
  std::set<std::string> before;
  {
    std::lock_guard lock(mu_);
    const auto found = cache_.find(KeyOf(user, *view));
    if (found != cache_.end()) {
      for (const SourceItem& item : *found->second.items) before.insert(item.id);
    }
  }
  auto items = Run(user, *Find(user, view->integration), *view, true);
  if (!items) return items.error();
  *results = (*items)->size();
  *fresh = static_cast<size_t>(
      std::count_if((*items)->begin(), (*items)->end(),
                    [&](const SourceItem& item) { return !before.contains(item.id); }));
  view->last_executed = Executed(user, *view);
  return view;
}

Result<std::vector<SourceResourceInfo>> SourceSet::Resources(const SourceUser& user,
                                                             const std::string& integration,
                                                             const std::string& type) {
  Source* source = Find(user, integration);
  if (source == nullptr) return Error{ENOENT, "integration not found"};
  return source->provider->Resources(type);
}

Result<std::string> SourceSet::ResultContent(const SourceUser& user, const ViewRecord& view,
                                             const std::string& name, const std::string& id) {
  Source* source = Find(user, view.integration);
  if (source == nullptr) return Error{ENOENT, "integration not available"};
  auto items = Run(user, *source, view, false);
  if (!items) return items.error();
  for (const SourceItem& item : **items) {
    if (item.name != name && (id.empty() || item.id != id)) continue;
    if (item.size > kMaxSourceAnswer) {
      return Error{EFBIG, "more than one answer holds: use Read with ranges"};
    }
    if (item.content) return *item.content;
    return source->provider->Read(item.id, 0, 0);
  }
  if (!view.folder && name == view.FileName()) return FileOf(view, **items);
  return Error{ENOENT, "file not found in query results"};
}

}  // namespace airstore::gateway
