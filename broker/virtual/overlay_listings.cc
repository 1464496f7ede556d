// SPDX-License-Identifier: Apache-2.0
#include "broker/virtual/overlay.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>

#include "broker/clock.h"
#include "broker/deadline.h"
#include "broker/names.h"
#include "broker/virtual/answer_error.h"
#include "broker/virtual/inode.h"
#include "broker/virtual/path.h"

namespace airstore::broker {
namespace {

constexpr uint32_t kDirectoryMode = S_IFDIR | 0755;
constexpr int64_t kStalePatienceNs = 1'000'000'000;

}  // namespace

VirtualOverlay::DirectoryPtr VirtualOverlay::Known(const std::string& path) {
  DirectoryPtr& directory = directories_[path];
  if (!directory) {
    directory = std::make_shared<Directory>();
    directory->changed_ns = RealtimeNs();
  }
  return directory;
}

// The question is asked once for all, and goes on when nobody waits for its answer any more.
Task<Result<VirtualOverlay::DirectoryPtr>> VirtualOverlay::List(std::string path, bool fresh) {
  std::string rest;
  if (registry_.Find(path, &rest) == nullptr) co_return Error{ENOENT, path};
  const DirectoryPtr directory = Known(path);
  auto over = [](DirectoryPtr of, std::shared_ptr<Event> listing) -> Task<Result<void>> {
    while (listing && of->listing == listing) co_await listing->Wait();
    co_return Result<void>{};
  };
  const int64_t now = MonotonicNs();
  if (fresh) {  // not what was asked before
    (void)co_await Before(now + options_.patience_ns, tasks_, executor_,
                          over(directory, directory->listing));
    directory->expired = true;
  }
  const bool known = directory->listed && !fresh;
  if (known && (!directory->expired || directory->listing)) co_return directory;
  if (!directory->listing) {
    directory->listing = std::make_shared<Event>(executor_);
    tasks_->Spawn(Refresh(path, directory));
  }
  const int64_t patience = known ? kStalePatienceNs : options_.patience_ns;
  auto answered =
      co_await Before(now + patience, tasks_, executor_, over(directory, directory->listing));
  if (known) co_return directory;
  const int error = answered ? directory->error : EAGAIN;
  if (error != 0) co_return Error{error, path};
  co_return directory;
}

Task<void> VirtualOverlay::Refresh(std::string path, DirectoryPtr directory) {
  std::string rest;
  const std::shared_ptr<VirtualNode> node = registry_.Find(path, &rest)->node;
  auto listed = co_await node->List(std::move(rest));
  const std::shared_ptr<Event> event = std::exchange(directory->listing, nullptr);
  directory->expired = false;
  directory->error = listed ? 0 : ErrnoFor(listed.error().code);
  if (listed) {
    Take(path, directory.get(), std::move(*listed));
  } else if (directory->listed) {
    spdlog::debug("{}: {}; an earlier listing is shown", path, listed.error().ToString());
  }
  event->NotifyAll();
  if (!directory->listed) co_return;
  VirtualEntry self;
  self.mode = kDirectoryMode;
  ExpireAfter(path, self);
}

void VirtualOverlay::Take(const std::string& path, Directory* directory,
                          std::vector<VirtualEntry> entries) {
  const uint64_t self = VirtualInode(path);
  std::vector<uint64_t> inodes;
  std::vector<WatchEvent::Name> names;
  std::map<std::string, VirtualEntry, std::less<>> fresh;
  for (VirtualEntry& entry : entries) {
    if (!ValidName(entry.name)) continue;
    std::string name = entry.name;
    entry.listed_version = entry.version;
    fresh.emplace(std::move(name), std::move(entry));
  }
  for (auto& [name, entry] : fresh) {
    const auto before = directory->entries.find(name);
    if (before == directory->entries.end()) {
      if (directory->listed) names.push_back({self, name});
      continue;
    }
    const VirtualEntry& old = before->second;
    const bool same_kind = (old.mode & S_IFMT) == (entry.mode & S_IFMT);
    if (!same_kind) names.push_back({self, name});
    if (same_kind && old.listed_version == entry.listed_version && old.mode == entry.mode) {
      // What was found out about it besides still holds.
      entry = old;
    } else {
      inodes.push_back(VirtualInode(Join(path, name)));
    }
  }
  for (const auto& [name, entry] : directory->entries) {
    if (fresh.contains(name)) continue;
    names.push_back({self, name});
    Forget(Join(path, name));
  }
  if (!names.empty()) {
    directory->changed_ns = RealtimeNs();
    inodes.push_back(self);
  }
  directory->entries = std::move(fresh);
  directory->listed = true;
  if (!names.empty() || !inodes.empty()) Tell(std::move(inodes), std::move(names));
}

void VirtualOverlay::Forget(const std::string& path) {
  const std::string below = path + "/";
  for (auto at = directories_.lower_bound(path); at != directories_.end();) {
    if (at->first != path && !at->first.starts_with(below)) {
      if (at->first > below + "\xff") break;
      ++at;
      continue;
    }
    for (const auto& [name, entry] : at->second->entries) {
      paths_.erase(VirtualInode(Join(at->first, name)));
    }
    at = directories_.erase(at);
  }
  paths_.erase(VirtualInode(path));
}

VirtualEntry* VirtualOverlay::Remembered(const std::string& path) {
  const auto parent = directories_.find(ParentOf(path));
  if (parent == directories_.end()) return nullptr;
  const auto entry = parent->second->entries.find(NameOf(path));
  return entry == parent->second->entries.end() ? nullptr : &entry->second;
}

void VirtualOverlay::Remember(const std::string& path, VirtualEntry entry) {
  const DirectoryPtr parent = Known(ParentOf(path));
  entry.name = NameOf(path);
  VirtualEntry& known = parent->entries[entry.name];
  entry.listed_version = known.listed_version;
  known = std::move(entry);
}

}  // namespace airstore::broker
