// SPDX-License-Identifier: Apache-2.0
#include "broker/lost_found.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "broker/clock.h"
#include "broker/durable_file.h"
#include "broker/state_dir.h"
#include "shm/base/fd.h"

namespace airstore::broker {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr char kManifest[] = "manifest.json";

std::string IdOf(const std::string& text) {
  uint32_t hash = 2166136261;  // FNV-1a
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619;
  char id[9];
  snprintf(id, sizeof(id), "%08x", hash);
  return id;
}

std::string Text(const Json& from, const char* key) {
  const auto found = from.find(key);
  return found != from.end() && found->is_string() ? found->get<std::string>() : std::string();
}

template <typename Number>
Number NumberIn(const Json& from, const char* key) {
  const auto found = from.find(key);
  return found != from.end() && found->is_number() ? found->get<Number>() : Number{0};
}

Json ToJson(const LostItem& item) {
  return {{"id", item.id},       {"what", item.what},   {"path", item.path},
          {"inode", item.inode}, {"errno", item.error}, {"error", strerror(item.error)},
          {"size", item.size},   {"file", item.file},   {"time_ns", item.time_ns}};
}

// Nothing: there is none, or it makes no sense.
std::optional<Json> ReadManifest(const std::string& directory) {
  std::ifstream file(directory + "/" + kManifest);
  if (!file) return std::nullopt;
  Json all = Json::parse(file, nullptr, false);
  if (!all.is_object() || !all.contains("items") || !all["items"].is_array()) return std::nullopt;
  return all;
}

Result<void> WriteManifest(const std::string& directory, const Json& all) {
  return WriteDurably(directory, kManifest,
                      all.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

LostItem FromJson(const Json& from, const std::string& directory, size_t place) {
  LostItem item;
  item.id = Text(from, "id");
  if (item.id.empty()) item.id = IdOf(directory + "/" + std::to_string(place));
  item.what = Text(from, "what");
  item.path = Text(from, "path");
  item.inode = NumberIn<uint64_t>(from, "inode");
  item.error = NumberIn<int>(from, "errno");
  item.size = NumberIn<uint64_t>(from, "size");
  item.file = fs::path(Text(from, "file")).filename().string();
  item.time_ns = NumberIn<int64_t>(from, "time_ns");
  return item;
}

void AppendSession(const std::string& directory, const Json& all, std::vector<LostEntry>* to) {
  LostEntry entry;
  entry.directory = directory;
  entry.workspace = Text(all, "workspace");
  entry.gateway = Text(all, "gateway");
  if (const auto owners = all.find("owners"); owners != all.end() && owners->is_array()) {
    for (const Json& owner : *owners) {
      if (owner.is_number_unsigned()) entry.owners.push_back(owner.get<uint32_t>());
    }
  }
  size_t place = 0;
  for (const Json& item : all["items"]) {
    entry.item = FromJson(item, directory, place++);
    to->push_back(entry);
  }
}

bool SameBytes(const std::string& one, const std::string& other) {
  std::error_code failed;
  if (fs::file_size(one, failed) != fs::file_size(other, failed) || failed) return false;
  std::ifstream first(one, std::ios::binary);
  std::ifstream second(other, std::ios::binary);
  std::vector<char> here(1u << 20);
  std::vector<char> there(here.size());
  while (first && second) {
    first.read(here.data(), static_cast<std::streamsize>(here.size()));
    second.read(there.data(), static_cast<std::streamsize>(there.size()));
    if (first.gcount() != second.gcount() ||
        !std::equal(here.begin(), here.begin() + first.gcount(), there.begin())) {
      return false;
    }
  }
  return first.eof() && second.eof();
}

uint64_t BytesBelow(const fs::path& directory) {
  uint64_t bytes = 0;
  std::error_code failed;
  for (fs::recursive_directory_iterator at(directory, failed), end; !failed && at != end;
       at.increment(failed)) {
    std::error_code ignored;
    if (at->is_regular_file(ignored)) bytes += at->file_size(ignored);
  }
  return bytes;
}

}  // namespace

LostFound::LostFound(std::string root, std::string name, std::string workspace, std::string gateway)
    : directory_(std::move(root) + "/" + kLostFoundDirectory + "/" + std::move(name)),
      workspace_(std::move(workspace)),
      gateway_(std::move(gateway)) {}

Result<std::string> LostFound::NewFile(uint64_t inode) {
  // The manifest comes first: without one the directory would be taken for a leftover.
  if (access((directory_ + "/" + kManifest).c_str(), F_OK) != 0) {
    std::vector<LostItem> none;
    AIRSTORE_TRY(Add(&none));
  }
  const std::string name = "inode-" + std::to_string(inode);
  for (int i = 0;; ++i) {
    const std::string file = i == 0 ? name : name + "-" + std::to_string(i);
    if (access((directory_ + "/" + file).c_str(), F_OK) != 0) return file;
  }
}

std::string LostFound::FindKept(uint64_t inode, const std::string& content) const {
  const auto all = ReadManifest(directory_);
  if (!all) return {};
  size_t place = 0;
  for (const Json& at : (*all)["items"]) {
    const LostItem item = FromJson(at, directory_, place++);
    if (item.inode == inode && !item.file.empty() &&
        SameBytes(directory_ + "/" + item.file, content)) {
      return item.id;
    }
  }
  return {};
}

Result<void> LostFound::Add(std::vector<LostItem>* items) {
  AIRSTORE_TRY(MakeDirectories(directory_, 0700));
  Json all = ReadManifest(directory_)
                 .value_or(Json{{"version", 1}, {"workspace", workspace_}, {"gateway", gateway_}});
  Json& list = all["items"];
  if (!list.is_array()) list = Json::array();
  std::vector<std::string> replaced;
  for (LostItem& item : *items) {
    if (item.time_ns == 0) item.time_ns = RealtimeNs();
    Json* known = nullptr;
    for (Json& at : list) {
      if (!item.id.empty() && Text(at, "id") == item.id) known = &at;
    }
    if (known != nullptr) {
      const std::string file = Text(*known, "file");
      if (!file.empty() && file != item.file) replaced.push_back(file);
      *known = ToJson(item);
      continue;
    }
    item.id = IdOf(directory_ + std::to_string(item.time_ns) + "/" + std::to_string(added_));
    list.push_back(ToJson(item));
    ++added_;
  }
  Json& owners = all["owners"];
  if (!owners.is_array()) owners = Json::array();
  for (const uint32_t owner : owners_) {
    if (std::find(owners.begin(), owners.end(), Json(owner)) == owners.end()) {
      owners.push_back(owner);
    }
  }
  AIRSTORE_TRY(WriteManifest(directory_, all));
  for (const std::string& file : replaced) unlink((directory_ + "/" + file).c_str());
  return {};
}

Result<void> LostFound::Keep(LostItem item, const std::string& content) {
  if (!content.empty()) {
    auto file = NewFile(item.inode);
    if (!file) return file.error();
    item.file = *file;
    const std::string to = directory_ + "/" + item.file;
    std::error_code failed;
    fs::rename(content, to, failed);
    if (failed == std::errc::cross_device_link) {
      failed.clear();
      fs::copy_file(content, to, fs::copy_options::overwrite_existing, failed);
      const UniqueFd copy(failed ? -1 : open(to.c_str(), O_RDONLY | O_CLOEXEC));
      if (!failed && (!copy || fsync(copy.get()) != 0)) return SysError("sync " + to);
      if (!failed) fs::remove(content, failed);
    }
    if (failed) return SysError("keep " + content + " as " + to, failed.value());
  }
  std::vector<LostItem> items(1, std::move(item));
  return Add(&items);
}

std::vector<LostEntry> ListLost(const std::string& root) {
  std::vector<LostEntry> entries;
  std::error_code ignored;
  const std::string home = root + "/" + kLostFoundDirectory;
  for (const auto& at : fs::directory_iterator(home, ignored)) {
    const std::string directory = at.path().string();
    if (const auto all = ReadManifest(directory)) {
      AppendSession(directory, *all, &entries);
      continue;
    }
    LostEntry entry;
    entry.leftover = true;
    entry.directory = directory;
    entry.item = {.id = IdOf(directory),
                  .what = "leftover",
                  .path = "",
                  .size = BytesBelow(at.path()),
                  .file = ""};
    entries.push_back(std::move(entry));
  }
  std::sort(entries.begin(), entries.end(), [](const LostEntry& a, const LostEntry& b) {
    return std::tie(a.workspace, a.item.time_ns, a.item.path, a.item.id) <
           std::tie(b.workspace, b.item.time_ns, b.item.path, b.item.id);
  });
  return entries;
}

Result<void> DiscardLost(const LostEntry& entry) {
  std::error_code failed;
  if (entry.leftover) {
    fs::remove_all(entry.directory, failed);
    return failed ? Result<void>(SysError("remove " + entry.directory, failed.value()))
                  : Result<void>();
  }
  auto all = ReadManifest(entry.directory);
  if (!all) return Error{ENOENT, entry.directory + " has no manifest any more"};
  Json kept = Json::array();
  size_t place = 0;
  for (const Json& item : (*all)["items"]) {
    LostItem known = FromJson(item, entry.directory, place++);
    if (known.id != entry.item.id) kept.push_back(ToJson(known));
  }
  if (!entry.item.file.empty()) {
    fs::remove(entry.directory + "/" + entry.item.file, failed);
    if (failed) return SysError("remove " + entry.item.file, failed.value());
  }
  if (kept.empty()) {
    fs::remove(entry.directory + "/" + kManifest, failed);
    if (failed) return SysError("remove the manifest of " + entry.directory, failed.value());
    fs::remove(entry.directory, failed);  // unless something is just being put there
    return {};
  }
  (*all)["items"] = std::move(kept);
  return WriteManifest(entry.directory, *all);
}

}  // namespace airstore::broker
