// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/sources/view.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>

#include "shm/base/fd.h"

namespace airstore::gateway {
namespace {

using nlohmann::json;

constexpr size_t kMostViews = 1000;

json ToJson(const ViewRecord& view) {
  return {{"external_id", view.external_id},
          {"integration", view.integration},
          {"name", view.name},
          {"filter", view.filter},
          {"guidance", view.guidance},
          {"folder", view.folder},
          {"file_ext", view.file_ext},
          {"cache_ttl", view.cache_ttl},
          {"created", view.created},
          {"updated", view.updated},
          {"mode", view.mode}};
}

ViewRecord FromJson(const json& object) {
  ViewRecord view;
  const auto text = [&](const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  const auto number = [&](const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_number_integer() ? found->get<int64_t>() : 0;
  };
  view.external_id = text("external_id");
  view.integration = text("integration");
  view.name = text("name");
  view.guidance = text("guidance");
  view.file_ext = text("file_ext");
  view.mode = text("mode");
  view.cache_ttl = static_cast<int32_t>(number("cache_ttl"));
  view.created = number("created");
  view.updated = number("updated");
  const auto folder = object.find("folder");
  view.folder = folder == object.end() || !folder->is_boolean() || folder->get<bool>();
  const auto filter = object.find("filter");
  if (filter != object.end() && filter->is_object()) view.filter = *filter;
  return view;
}

Result<std::string> ReadWhole(const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return SysError("open " + path);
  std::string text;
  std::array<char, 64 << 10> buffer;
  while (true) {
    const ssize_t n = read(fd.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return SysError("read " + path);
    if (n == 0) return text;
    text.append(buffer.data(), static_cast<size_t>(n));
  }
}

std::string Time(int64_t seconds) {
  const time_t time = seconds;
  tm utc{};
  gmtime_r(&time, &utc);
  char text[32];
  return {text, strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc)};
}

std::string EscapeMarks(std::string text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '<') {
      escaped += "\\u003c";
    } else if (c == '>') {
      escaped += "\\u003e";
    } else if (c == '&') {
      escaped += "\\u0026";
    } else {
      escaped += c;
    }
  }
  return escaped;
}

}  // namespace

std::string Definition(const ViewRecord& view, const std::string& workspace_id) {
  const std::string filter = view.filter.dump(-1, ' ', false, json::error_handler_t::replace);
  const json object = {{"id", view.external_id},
                       {"external_id", view.external_id},
                       {"workspace_id", workspace_id},
                       {"integration", view.integration},
                       {"path", view.Path()},
                       {"name", view.name},
                       {"query_spec", filter},
                       {"filter", filter},
                       {"mode", view.mode},
                       {"guidance", view.guidance},
                       {"output_format", view.folder ? "folder" : "file"},
                       {"file_ext", view.file_ext},
                       {"filename_format", ""},
                       {"cache_ttl", view.cache_ttl},
                       {"created_at", Time(view.created)},
                       {"updated_at", Time(view.updated)}};
  return EscapeMarks(object.dump(2, ' ', false, json::error_handler_t::replace));
}

Result<ViewStore::Views*> ViewStore::Load(const std::string& workspace) {
  const auto known = loaded_.find(workspace);
  if (known != loaded_.end()) return &known->second;
  const std::string path = directory_ + "/" + workspace + ".json";
  Views views;
  auto text = ReadWhole(path);
  // What cannot be read at the moment is there: the next view must not take its place.
  if (!text && text.error().code != ENOENT) return text.error();
  if (text) {
    const json array = json::parse(*text, nullptr, false);
    if (!array.is_array()) return Error{EIO, path + " is damaged"};
    for (const json& object : array) {
      if (!object.is_object()) return Error{EIO, path + " is damaged"};
      ViewRecord view = FromJson(object);
      views[view.external_id] = std::move(view);
    }
  }
  return &(loaded_[workspace] = std::move(views));
}

Result<void> ViewStore::Save(const std::string& workspace, const Views& views) {
  json array = json::array();
  for (const auto& [id, view] : views) array.push_back(ToJson(view));
  const std::string text = array.dump(1, ' ', false, json::error_handler_t::replace) + "\n";
  if (mkdir(directory_.c_str(), 0700) != 0 && errno != EEXIST) return SysError(directory_);
  const std::string path = directory_ + "/" + workspace + ".json";
  const std::string temp = path + ".tmp";
  UniqueFd fd(open(temp.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd || write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      fsync(fd.get()) != 0 || rename(temp.c_str(), path.c_str()) != 0) {
    return SysError("write " + path);
  }
  return {};
}

Result<std::vector<ViewRecord>> ViewStore::List(const std::string& workspace) {
  std::lock_guard lock(mu_);
  auto views = Load(workspace);
  if (!views) return views.error();
  std::vector<ViewRecord> all;
  for (const auto& [id, view] : **views) all.push_back(view);
  return all;
}

Result<void> ViewStore::Put(const std::string& workspace, const ViewRecord& view) {
  std::lock_guard lock(mu_);
  auto views = Load(workspace);
  if (!views) return views.error();
  for (const auto& [id, other] : **views) {
    if (id != view.external_id && other.Path() == view.Path()) {
      return Error{EEXIST, "there is a view of this name"};
    }
  }
  Views changed = **views;
  changed[view.external_id] = view;
  if (changed.size() > kMostViews) return Error{ENOSPC, "a workspace has at most 1,000 views"};
  AIRSTORE_TRY(Save(workspace, changed));
  **views = std::move(changed);
  return {};
}

Result<void> ViewStore::Remove(const std::string& workspace, const std::string& external_id) {
  std::lock_guard lock(mu_);
  auto views = Load(workspace);
  if (!views) return views.error();
  Views changed = **views;
  if (changed.erase(external_id) == 0) return Error{ENOENT, "query not found"};
  AIRSTORE_TRY(Save(workspace, changed));
  **views = std::move(changed);
  return {};
}

void ViewStore::RemoveAll(const std::string& workspace) {
  std::lock_guard lock(mu_);
  loaded_.erase(workspace);
  (void)unlink((directory_ + "/" + workspace + ".json").c_str());
}

}  // namespace airstore::gateway
