// SPDX-License-Identifier: Apache-2.0
//
// Giving up what is cached of files, when somebody asks for it.
#include <sys/stat.h>

#include <boost/asio/post.hpp>

#include "broker/broker.h"

namespace airstore::broker {
namespace {

constexpr size_t kFilesAtOnce = 64;  // then others get their turn: each may be a file to remove

bool IsCached(const shm::InodeRecord& record) {
  return S_ISREG(record.mode) &&
         record.content_kind != static_cast<uint32_t>(shm::ContentKind::kNone);
}

// `path` is `directory`, or below it.
bool IsWithin(const std::string& path, const std::string& directory) {
  if (!path.starts_with(directory)) return false;
  return directory == "/" || path.size() == directory.size() || path[directory.size()] == '/';
}

// In memory or on disk.
uint64_t CachedBytes(Session& session, const shm::InodeRecord& record) {
  if (record.content_kind == static_cast<uint32_t>(shm::ContentKind::kSlab)) {
    return record.extent_bytes;
  }
  return session.contents().DiskBytes(record.inode);
}

// False: it is in use, or the gateway does not have it.
bool GiveUp(Session& session, const shm::InodeRecord& record) {
  const uint64_t inode = record.inode;
  if ((record.flags & shm::kOrphan) != 0 || record.write_error != 0 ||
      session.log().PendingOf(inode) != 0 ||
      session.mounts().AnyLocalOpens(session.inodes().IndexOf(inode)) ||
      !session.contents().LetGo(inode)) {
    return false;
  }
  session.inodes().DropSmall(inode);
  return true;
}

}  // namespace

Task<Outcome<Evicted>> Broker::Evict(const Caller& caller, const std::string& path) {
  MountPtr mount;
  for (const MountPtr& each : mounts_) {
    if (!MaySee(caller, *each)) continue;
    if (!IsWithin(path, each->spec().mountpoint)) continue;
    // Mounts may lie in mounts.
    if (!mount || each->spec().mountpoint.size() > mount->spec().mountpoint.size()) mount = each;
  }
  const auto slot = std::find_if(sessions_.begin(), sessions_.end(), [&](const SlotPtr& each) {
    return mount && each->session && !each->closing && each->session.get() == mount->session();
  });
  if (slot == sessions_.end()) {
    co_return Outcome<Evicted>{std::nullopt,
                               {FailureKind::kNotFound, path + " is in no mount of this broker",
                                "airctl status lists the mounts"}};
  }
  const SlotPtr kept_slot = *slot;
  Session& session = *kept_slot->session;
  const size_t root = mount->spec().mountpoint.size();
  const std::string below = path.size() == root ? "/" : path.substr(root);
  mount.reset();

  std::unordered_set<uint64_t> cached;
  session.inodes().EachInode([&](uint32_t, const shm::InodeRecord& record) {
    if (IsCached(record)) cached.insert(record.inode);
  });
  ++kept_slot->users;  // it may not go while others get their turn
  if (below != "/") {
    const auto paths = co_await session.tree().PathsOf(cached);
    std::erase_if(cached, [&](uint64_t inode) {
      const auto found = paths.find(inode);
      return found == paths.end() || !IsWithin(found->second, below);
    });
  }
  Evicted done;
  size_t looked_at = 0;
  for (const uint64_t inode : cached) {
    if (++looked_at % kFilesAtOnce == 0) {
      co_await boost::asio::post(executor_, boost::asio::use_awaitable);
    }
    const auto record = session.inodes().Get(inode);
    if (!record || !IsCached(*record)) continue;
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
