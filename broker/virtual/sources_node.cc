// SPDX-License-Identifier: Apache-2.0
#include "broker/virtual/sources_node.h"

#include <sys/stat.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "broker/names.h"

namespace airstore::broker {
namespace {

constexpr std::chrono::seconds kLifetime{15};
constexpr char kQueryFile[] = ".query.as";

size_t DepthOf(const std::string& path) {
  return path.empty() ? 0 : 1 + static_cast<size_t>(std::count(path.begin(), path.end(), '/'));
}

uint64_t VersionOf(const SourceEntry& entry) {
  const std::string said =
      entry.result_id + '\0' + std::to_string(entry.mtime_ns) + '\0' + std::to_string(entry.size);
  return XXH3_64bits(said.data(), said.size()) | 1;
}

class SourcesNode final : public VirtualNode {
 public:
  SourcesNode(std::shared_ptr<GatewayServices> services, bool sizes_known)
      : services_(std::move(services)), sizes_known_(sizes_known) {}

  Kind kind() const override { return Kind::kQuery; }

  bool IsOffered(const OfferedServices& offered) const override { return offered.sources; }
  Task<Result<bool>> HasSomething() override {
    auto listed = co_await services_->ListSource("");
    if (!listed) co_return listed.error();
    co_return std::any_of(listed->begin(), listed->end(),
                          [](const SourceEntry& entry) { return S_ISDIR(entry.mode); });
  }

  Task<Result<std::vector<VirtualEntry>>> List(std::string path) override {
    const size_t depth = DepthOf(path);
    auto listed = co_await services_->ListSource(path);
    if (!listed) co_return listed.error();
    // A view that was not run yet has its definition only.
    if (depth == 2 && std::all_of(listed->begin(), listed->end(), [](const SourceEntry& entry) {
          return entry.name == kQueryFile;
        })) {
      auto found = co_await services_->ExecuteView(path);
      if (found) listed->insert(listed->end(), found->begin(), found->end());
    }
    std::vector<VirtualEntry> entries;
    for (const SourceEntry& entry : *listed) {
      if (IsHiddenInSources(entry.name) || (depth == 0 && !S_ISDIR(entry.mode))) continue;
      entries.push_back(Show(entry));
    }
    co_return entries;
  }

  Task<Result<VirtualEntry>> Stat(std::string path) override {
    // All there is, is in the listings.
    co_return Error{ENOENT, path};
  }

  Task<Result<std::string>> Read(std::string path, uint64_t offset, uint64_t length) override {
    co_return co_await services_->ReadSource(std::move(path), offset, length);
  }

  // `<integration>/<name>`: a directory is a view with a file for each result, a file with an
  // extension one with all of them.
  Task<Result<void>> Make(std::string path, bool directory) override {
    const size_t slash = path.find('/');
    if (DepthOf(path) != 2) co_return Error{EPERM, path};
    const std::string name = path.substr(slash + 1);
    if (!IsUtf8(name)) co_return Error{EILSEQ, path};
    if (name.empty() || name[0] == '.' || IsHiddenInSources(name)) co_return Error{EPERM, path};
    const size_t dot = directory ? std::string::npos : name.rfind('.');
    if (!directory && (dot == std::string::npos || dot == 0)) co_return Error{EPERM, path};
    const std::string extension = directory ? std::string() : name.substr(dot);
    co_return co_await services_->CreateView(path.substr(0, slash), name.substr(0, dot), extension);
  }

  std::chrono::milliseconds Lifetime(const std::string&, const VirtualEntry& entry) override {
    return S_ISDIR(entry.mode) ? kLifetime : std::chrono::seconds(0);
  }

 private:
  VirtualEntry Show(const SourceEntry& entry) const {
    VirtualEntry shown;
    shown.name = entry.name;
    shown.mtime_ns = entry.mtime_ns;
    if (S_ISDIR(entry.mode)) {
      shown.mode = S_IFDIR | 0755;
      shown.version = 1;
      return shown;
    }
    const bool defines = entry.name.ends_with(kQueryFile);
    shown.mode = S_IFREG | (defines ? 0444 : 0644);
    shown.size = entry.size;
    shown.size_unknown = entry.size == 0 || (!sizes_known_ && !defines);
    shown.version = VersionOf(entry);
    return shown;
  }

  const std::shared_ptr<GatewayServices> services_;
  const bool sizes_known_;
};

}  // namespace

bool IsHiddenInSources(const std::string& name) {
  static constexpr std::array kHidden = {".DS_Store",
                                         ".Spotlight-V100",
                                         ".Trashes",
                                         ".fseventsd",
                                         ".TemporaryItems",
                                         ".git",
                                         ".gitignore",
                                         ".gitmodules",
                                         ".gitattributes",
                                         ".hg",
                                         ".svn",
                                         ".rgignore",
                                         ".ignore",
                                         "libinfo.dylib",
                                         ".eslintrc",
                                         ".eslintrc.json",
                                         ".eslintrc.js",
                                         ".prettierrc",
                                         ".prettierrc.json",
                                         ".editorconfig",
                                         ".clang-format",
                                         ".clang-tidy",
                                         ".envrc",
                                         ".env",
                                         ".tool-versions",
                                         ".node-version",
                                         ".ruby-version",
                                         ".python-version",
                                         ".nvmrc"};
  return name.starts_with("._") || name.starts_with(".fuse_hidden") ||
         std::find(kHidden.begin(), kHidden.end(), name) != kHidden.end();
}

std::shared_ptr<VirtualNode> MakeSourcesNode(std::shared_ptr<GatewayServices> services,
                                             bool sizes_known) {
  return std::make_shared<SourcesNode>(std::move(services), sizes_known);
}

}  // namespace airstore::broker
