// SPDX-License-Identifier: Apache-2.0
//
// Giving up what is cached of files, when somebody asks for it.
#include <sys/stat.h>

#include "broker/broker.h"

namespace airstore::broker {
namespace {

bool InSlab(const shm::InodeRecord& record) {
  return record.content_kind == static_cast<uint32_t>(shm::ContentKind::kSlab);
}

// `path` is `directory`, or below it.
bool IsWithin(const std::string& path, const std::string& directory) {
  if (!path.starts_with(directory)) return false;
  return directory == "/" || path.size() == directory.size() || path[directory.size()] == '/';
}

// What its content takes here, in memory or on disk.
uint64_t CachedBytes(Session& session, const shm::InodeRecord& record) {
  if (InSlab(record)) return record.size;
  uint64_t id = 0;
  const int fd = session.contents().ContentFd(record.inode, &id);
  struct stat info {};
  return fd >= 0 && fstat(fd, &info) == 0 ? static_cast<uint64_t>(info.st_blocks) * 512 : 0;
}

// False: it is in use, or not at the gateway.
bool GiveUp(Session& session, const shm::InodeRecord& record) {
  if (!InSlab(record)) return session.contents().LetGo(record.inode);
  if (session.contents().HasOpens(record.inode) || session.log().PendingOf(record.inode) != 0) {
    return false;
  }
  session.inodes().DropSmall(record.inode);
  return true;
}

}  // namespace

Task<Outcome<Evicted>> Broker::Evict(const Caller& caller, const std::string& path) {
  MountPtr mount;
  for (const MountPtr& each : mounts_) {
    if (caller.uid != 0 && caller.uid != each->owner()) continue;
    if (!IsWithin(path, each->spec().mountpoint)) continue;
    // Mounts may lie in mounts.
    if (!mount || each->spec().mountpoint.size() > mount->spec().mountpoint.size()) mount = each;
  }
  const auto slot = std::find_if(sessions_.begin(), sessions_.end(), [&](const SlotPtr& each) {
    return mount && each->session && each->session.get() == mount->session();
  });
  if (slot == sessions_.end()) {
    co_return Outcome<Evicted>{std::nullopt,
                               {FailureKind::kNotFound, path + " is in no mount of this broker",
                                "airctl status lists the mounts"}};
  }
  const SlotPtr kept_slot = *slot;
  Session& session = *kept_slot->session;
  const std::string& root = mount->spec().mountpoint;
  const std::string below = path.size() == root.size() ? "/" : path.substr(root.size());

  std::unordered_set<uint64_t> cached;
  session.inodes().EachInode([&](uint32_t, const shm::InodeRecord& record) {
    if (S_ISREG(record.mode) &&
        record.content_kind != static_cast<uint32_t>(shm::ContentKind::kNone)) {
      cached.insert(record.inode);
    }
  });
  ++kept_slot->users;  // it may not go while paths are looked for
  if (below != "/") {
    const auto paths = co_await session.tree().PathsOf(cached);
    std::erase_if(cached, [&](uint64_t inode) {
      const auto found = paths.find(inode);
      return found == paths.end() || !IsWithin(found->second, below);
    });
  }
  Evicted done;
  for (const uint64_t inode : cached) {
    const auto record = session.inodes().Get(inode);
    if (!record) continue;
    const uint64_t bytes = CachedBytes(session, *record);
    const bool gone = GiveUp(session, *record);
    ++(gone ? done.files : done.kept_files);
    (gone ? done.bytes : done.kept_bytes) += bytes;
  }
  --kept_slot->users;
  co_await DropSessionIfUnused(kept_slot);
  co_return Outcome<Evicted>{done, {}};
}

}  // namespace airstore::broker
