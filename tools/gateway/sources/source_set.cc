// SPDX-License-Identifier: Apache-2.0
//
// SourceSet: the tree.
#include "tools/gateway/sources/source_set.h"

#include <algorithm>

#include "tools/gateway/sources/place.h"

namespace airstore::gateway {
namespace {

constexpr uint32_t kDirectory = 040755;
constexpr uint32_t kFile = 0100644;
constexpr uint32_t kReadOnlyFile = 0100444;

int64_t Now() { return WallClockNs() / 1'000'000'000; }

SourceNode File(std::string name, uint64_t size, int64_t mtime, uint32_t mode = kFile) {
  SourceNode node;
  node.name = std::move(name);
  node.size = size;
  node.mtime = mtime;
  node.mode = mode;
  return node;
}

SourceNode Directory(std::string name, int64_t mtime, int32_t children) {
  SourceNode node;
  node.name = std::move(name);
  node.directory = true;
  node.mtime = mtime;
  node.mode = kDirectory;
  node.children = children;
  return node;
}

std::string Slice(std::string text, uint64_t offset, uint64_t length) {
  if (offset >= text.size()) return {};
  return text.substr(offset, length == 0 ? std::string::npos : length);
}

}  // namespace

SourceSet::SourceSet(const Config& config, const std::string& directory) : views_(directory) {
  for (const auto& offered : config.sources) {
    auto source = std::make_unique<Source>();
    source->config = offered.what;
    source->workspaces = offered.workspaces;
    auto provider =
        offered.what.kind == "git" ? OpenGit(offered.what.path) : OpenMaildir(offered.what.path);
    if (!provider) continue;  // neither looks at anything yet
    source->provider = std::move(*provider);
    sources_.push_back(std::move(source));
  }
}

bool SourceSet::AnyFor(const std::string& workspace_name) const {
  return std::any_of(sources_.begin(), sources_.end(), [&](const auto& source) {
    return source->workspaces.empty() || source->workspaces.contains(workspace_name);
  });
}

SourceSet::Source* SourceSet::Find(const SourceUser& user, const std::string& integration) {
  for (const auto& source : sources_) {
    if (source->config.name == integration &&
        (source->workspaces.empty() || source->workspaces.contains(user.workspace_name))) {
      return source.get();
    }
  }
  return nullptr;
}

std::string SourceSet::Readme(const Source& source) {
  const auto connected = source.provider->Check();
  const std::string title = source.config.title.empty() ? source.config.name : source.config.title;
  return "# " + title + "\n\nA " + source.config.kind +
         " of the gateway's host, through views.\n\n## Status\n\n| | |\n|---|---|\n| Connected | " +
         (connected ? "Yes" : "No") + " |\n| Scope | workspace |\n\n" +
         (connected
              ? "## Getting Started\n\nMake a view of it: `mkdir NAME` here where mounts allow "
                "it, or CreateView with a filter.\n\n" +
                    source.provider->FilterHelp()
              : "## Connect\n\n" + connected.error().message +
                    ": correct `path` in the gateway's configuration.\n");
}

Result<SourceSet::Place> SourceSet::Locate(const SourceUser& user, const std::string& path) {
  std::vector<std::string> parts;
  for (size_t at = 0; at < path.size();) {
    const size_t slash = std::min(path.find('/', at), path.size());
    if (slash > at) parts.push_back(path.substr(at, slash - at));
    at = slash + 1;
  }
  Place place;
  if (parts.empty()) return place;
  place.source = Find(user, parts[0]);
  if (place.source == nullptr) return Error{ENOENT, "integration not found"};
  place.kind = Place::kIntegration;
  if (parts.size() == 1) return place;
  if (parts[1] == "README.md" && parts.size() == 2) {
    place.kind = Place::kReadme;
    return place;
  }
  auto views = Views(user, parts[0]);
  if (!views) return views.error();
  for (ViewRecord& view : *views) {
    const std::string name = view.FileName();
    const bool definition = !view.folder && parts[1] == "." + name + ".query.as";
    if (parts[1] != name && !definition) continue;
    place.kind = definition ? Place::kDefinition : view.folder ? Place::kFolder : Place::kFileView;
    place.view = std::move(view);
    if (parts.size() == 2) return place;
    if (place.kind != Place::kFolder || parts.size() > 3) return Error{ENOTDIR, "not a directory"};
    if (parts[2] == ".query.as") {
      place.kind = Place::kDefinition;
      return place;
    }
    auto items = Run(user, *place.source, place.view, false);
    if (!items) return items.error();
    const auto item = std::find_if((*items)->begin(), (*items)->end(),
                                   [&](const SourceItem& one) { return one.name == parts[2]; });
    if (item == (*items)->end()) return Error{ENOENT, "file not found"};
    place.kind = Place::kResult;
    place.item = std::shared_ptr<const SourceItem>(*items, &*item);
    return place;
  }
  return Error{ENOENT, parts.size() == 2 ? "file not found" : "query not found"};
}

Result<std::string> SourceSet::Whole(const SourceUser& user, const Place& place) {
  switch (place.kind) {
    case Place::kReadme:
      return Readme(*place.source);
    case Place::kDefinition:
      return Definition(place.view, user.workspace_id);
    case Place::kFileView: {
      auto items = Run(user, *place.source, place.view, false);
      if (!items) return items.error();
      return FileOf(place.view, **items);
    }
    default:
      return Error{EISDIR, "is a directory"};
  }
}

Result<SourceNode> SourceSet::Stat(const SourceUser& user, const std::string& path) {
  auto place = Locate(user, path);
  if (!place) return place.error();
  const std::string name = path.substr(path.rfind('/') + 1);
  switch (place->kind) {
    case Place::kRoot:
    case Place::kIntegration:
      return Directory(name, Now(), 0);
    case Place::kFolder:
      return Directory(name, std::max(place->view.updated, place->view.created), 0);
    case Place::kResult:
      return File(name, place->item->size, place->item->mtime);
    case Place::kReadme:
    case Place::kDefinition:
    case Place::kFileView: {
      auto text = Whole(user, *place);
      if (!text) return text.error();
      const bool readme = place->kind == Place::kReadme;
      return File(name, text->size(), readme ? Now() : place->view.updated,
                  place->kind == Place::kDefinition ? kReadOnlyFile : kFile);
    }
  }
  return Error{ENOENT, "file not found"};
}

Result<std::vector<SourceNode>> SourceSet::ListSource(const SourceUser& user, Source& source) {
  std::vector<SourceNode> nodes = {File("README.md", Readme(source).size(), Now())};
  auto views = Views(user, source.config.name);
  if (!views) return views.error();
  for (const ViewRecord& view : *views) {
    auto items = Run(user, source, view, false);
    if (view.folder) {
      nodes.push_back(Directory(view.name, view.updated,
                                items ? static_cast<int32_t>((*items)->size()) + 1 : 1));
      continue;
    }
    nodes.push_back(File(view.FileName(), items ? FileOf(view, **items).size() : 0, view.updated));
    nodes.push_back(File("." + view.FileName() + ".query.as",
                         Definition(view, user.workspace_id).size(), view.updated, kReadOnlyFile));
  }
  return nodes;
}

Result<std::vector<SourceNode>> SourceSet::List(const SourceUser& user, const std::string& path) {
  auto place = Locate(user, path);
  if (!place) return place.error();
  std::vector<SourceNode> nodes;
  switch (place->kind) {
    case Place::kRoot:
      for (const auto& source : sources_) {
        if (Find(user, source->config.name) == source.get()) {
          nodes.push_back(Directory(source->config.name, Now(), 0));
        }
      }
      return nodes;
    case Place::kIntegration:
      return ListSource(user, *place->source);
    case Place::kFolder: {
      auto results = Execute(user, place->view);
      if (!results) return results.error();
      nodes.push_back(File(".query.as", Definition(place->view, user.workspace_id).size(),
                           place->view.updated, kReadOnlyFile));
      nodes.insert(nodes.end(), std::make_move_iterator(results->begin()),
                   std::make_move_iterator(results->end()));
      return nodes;
    }
    default:
      return Error{ENOTDIR, "not a directory"};
  }
}

Result<SourceContent> SourceSet::Read(const SourceUser& user, const std::string& path,
                                      uint64_t offset, uint64_t length) {
  auto place = Locate(user, path);
  if (!place) return place.error();
  SourceContent content;
  content.integration = place->source != nullptr ? place->source->config.name : "";
  if (place->kind != Place::kResult) {
    auto text = Whole(user, *place);
    if (!text) return text.error();
    content.data = Slice(std::move(*text), offset, length);
  } else {
    const SourceItem& item = *place->item;
    content.view_path = place->view.Path();
    content.result_id = item.id;
    const uint64_t left = item.size - std::min(offset, item.size);
    if ((length == 0 ? left : std::min(length, left)) > kMaxSourceAnswer) {
      return Error{EFBIG, "more than one answer holds: read at most 15 MiB at once"};
    }
    if (item.content) {
      content.data = Slice(*item.content, offset, length);
    } else {
      auto data = place->source->provider->Read(item.id, offset, length);
      if (!data) return data.error();
      content.data = std::move(*data);
    }
  }
  if (content.data.size() > kMaxSourceAnswer) {
    return Error{EFBIG, "more than one answer holds: read at most 15 MiB at once"};
  }
  return content;
}

std::string SourceSet::FileOf(const ViewRecord& view, const std::vector<SourceItem>& items) const {
  if (view.file_ext == ".json") {
    nlohmann::json all = nlohmann::json::array();
    for (const SourceItem& item : items) all.push_back(item.about);
    return all.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  }
  std::string text;
  for (const SourceItem& item : items) text += item.name + "\n";
  return text;
}

}  // namespace airstore::gateway
