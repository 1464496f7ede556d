// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/access_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "shm/base/fd.h"

namespace airstore::gateway {
namespace {

using nlohmann::json;

constexpr std::chrono::minutes kRemembered{15};
constexpr size_t kMostRemembered = 200'000;
constexpr size_t kMaxText = 4096;

// Every field once, for both directions.
template <typename Event, typename Visit>
void VisitFields(Event& event, Visit visit) {
  visit("event_id", event.event_id);
  visit("ts", event.ts_ms);
  visit("session_id", event.session);
  visit("path", event.path);
  visit("cache_source", event.cache_source);
  visit("offset", event.offset);
  visit("requested_bytes", event.requested_bytes);
  visit("read_bytes", event.read_bytes);
  visit("latency_ms", event.latency_ms);
  visit("error_msg", event.error);
  visit("mount_id", event.mount);
  visit("access_origin", event.origin);
  visit("integration", event.integration);
  visit("source_uri", event.source_uri);
  visit("query_path", event.query_path);
  visit("result_id", event.result_id);
  visit("original_bytes", event.original_bytes);
  visit("compressed_bytes", event.compressed_bytes);
  visit("original_tokens", event.original_tokens);
  visit("compressed_tokens", event.compressed_tokens);
  visit("strategy", event.strategy);
  visit("outcome", event.outcome);
  visit("compression_ms", event.compression_ms);
  visit("fetch_ms", event.fetch_ms);
}

struct Write {
  json& object;
  void operator()(const char* key, const std::string& text) const {
    if (!text.empty()) object[key] = text.substr(0, kMaxText);
  }
  void operator()(const char* key, int64_t number) const {
    if (number != 0) object[key] = number;
  }
};

struct Read {
  const json& object;
  void operator()(const char* key, std::string& text) const {
    const auto found = object.find(key);
    if (found != object.end() && found->is_string()) text = found->get<std::string>();
  }
  void operator()(const char* key, int64_t& number) const {
    const auto found = object.find(key);
    if (found != object.end() && found->is_number_integer()) number = found->get<int64_t>();
  }
};

bool IsBelow(const std::string& path, const std::string& folder) {
  if (folder.empty() || path == folder) return true;
  return path.starts_with(folder) && path[folder.size()] == '/';
}

void FillIn(const std::string& workspace, AccessEvent* event) {
  if (event->session.empty()) event->session = workspace;
  if (event->origin.empty()) event->origin = "fuse";
  if (event->outcome.empty()) event->outcome = event->error.empty() ? "passthrough" : "error";
}

}  // namespace

std::string AccessLog::PathOf(const std::string& workspace, int generation) const {
  std::string path = directory_ + "/" + workspace + ".jsonl";
  return generation == 0 ? path : path + "." + std::to_string(generation);
}

void AccessLog::Remember(Seen& seen, uint64_t id) {
  const SteadyTime now = SteadyNow();
  while (!seen.order.empty() &&
         (now - seen.order.front().first > kRemembered || seen.order.size() >= kMostRemembered)) {
    seen.ids.erase(seen.order.front().second);
    seen.order.pop_front();
  }
  if (seen.ids.insert(id).second) seen.order.emplace_back(now, id);
}

void AccessLog::Rotate(const std::string& workspace) const {
  for (int generation = files_ - 1; generation > 0; --generation) {
    (void)rename(PathOf(workspace, generation - 1).c_str(), PathOf(workspace, generation).c_str());
  }
}

Result<void> AccessLog::Add(const std::string& workspace, std::vector<AccessEvent> events) {
  std::lock_guard lock(mu_);
  std::string text;
  Seen& seen = seen_[workspace];
  std::unordered_set<uint64_t> fresh;  // remembered when they are written
  for (AccessEvent& event : events) {
    if (const std::string& id = event.event_id; !id.empty()) {
      const uint64_t hash = XXH3_64bits(id.data(), id.size());
      if (seen.ids.contains(hash) || !fresh.insert(hash).second) continue;
    }
    FillIn(workspace, &event);
    json object = json::object();
    VisitFields(event, Write{object});
    text += object.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  }
  if (text.empty()) return {};
  if (mkdir(directory_.c_str(), 0700) != 0 && errno != EEXIST) return SysError(directory_);
  struct stat st;
  if (stat(PathOf(workspace, 0).c_str(), &st) == 0 &&
      static_cast<uint64_t>(st.st_size) + text.size() > file_bytes_) {
    Rotate(workspace);
  }
  UniqueFd fd(open(PathOf(workspace, 0).c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!fd || fstat(fd.get(), &st) != 0) return SysError("open the access log");
  const ssize_t written = write(fd.get(), text.data(), text.size());
  if (written != static_cast<ssize_t>(text.size())) {
    const int code = written < 0 ? errno : ENOSPC;
    // Half a line would swallow the next one.
    (void)!ftruncate(fd.get(), st.st_size);
    return SysError("write the access log", code);
  }
  for (const uint64_t id : fresh) Remember(seen, id);
  return {};
}

void AccessLog::Remove(const std::string& workspace) {
  std::lock_guard lock(mu_);
  seen_.erase(workspace);
  for (int generation = 0; generation < files_; ++generation) {
    (void)unlink(PathOf(workspace, generation).c_str());
  }
}

Result<std::vector<AccessEvent>> AccessLog::Find(const std::string& workspace,
                                                 const AccessQuery& query) {
  std::deque<AccessEvent> found;
  std::string folder = query.path;
  while (!folder.empty() && folder.front() == '/') folder.erase(0, 1);
  while (!folder.empty() && folder.back() == '/') folder.pop_back();
  std::lock_guard lock(mu_);
  for (int generation = files_ - 1; generation >= 0; --generation) {
    std::ifstream file(PathOf(workspace, generation), std::ios::binary);
    std::string line;
    while (std::getline(file, line)) {
      const json object = json::parse(line, nullptr, false);
      if (!object.is_object()) continue;  // half a line, after a loss of power
      AccessEvent event;
      VisitFields(event, Read{object});
      if (event.ts_ms < query.since_ms || !IsBelow(event.path, folder)) continue;
      found.push_back(std::move(event));
      if (found.size() > query.most) found.pop_front();
    }
  }
  return std::vector<AccessEvent>(std::make_move_iterator(found.begin()),
                                  std::make_move_iterator(found.end()));
}

}  // namespace airstore::gateway
