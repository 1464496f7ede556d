// SPDX-License-Identifier: Apache-2.0
#include "broker/lane_replay.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <optional>
#include <thread>

#include "broker/append_place.h"
#include "broker/content_file.h"
#include "broker/mount_ledger.h"
#include "broker/remap.h"
#include "shm/abi.h"
#include "shm/lane.h"

namespace airstore::broker {
namespace {

constexpr auto kFrontendPoll = std::chrono::milliseconds(10);
constexpr int kMostPolls = 200;

Result<void> WriteAll(const std::string& path, std::span<const uint8_t> data, uint64_t offset,
                      bool append, bool begun) {
  const UniqueFd file(open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!file) return SysError("open " + path);
  if (append) offset = PlaceOfReplayed(file.get(), offset, data, begun);
  size_t done = 0;
  while (done < data.size()) {
    const ssize_t written = pwrite(file.get(), data.data() + done, data.size() - done,
                                   static_cast<off_t>(offset + done));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return SysError("write " + path, written < 0 ? errno : ENOSPC);
    done += static_cast<size_t>(written);
  }
  return {};
}

Result<std::unique_ptr<shm::LaneConsumer>> Adopt(UniqueFd lane_file, UniqueFd arena_file,
                                                 const shm::SessionId& session, uint32_t mount) {
  auto lane =
      shm::Segment::Attach(std::move(lane_file), {shm::SegmentKind::kLane, session, mount}, true);
  if (!lane) return lane.error();
  auto arena =
      shm::Segment::Attach(std::move(arena_file), {shm::SegmentKind::kArena, session, mount}, true);
  if (!arena) return arena.error();
  return shm::LaneConsumer::Adopt(std::move(*lane), std::move(*arena));
}

// Places in the queue.
struct Done {
  uint64_t handled = 0;
  uint64_t begun = 0;  // an append that may have been made
};

// How far the dead broker had carried out the queue, and perhaps not said so there: what it wrote
// may have been overwritten since.
Done DoneBefore(const shm::LaneConsumer& lane, const std::string& spool, uint32_t mount) {
  const std::string path = spool + "/" + MountLedger::FileName(mount);
  auto ledger = MountLedger::Adopt(path, lane.inode_uses());
  if (ledger) return {(*ledger)->handled(), (*ledger)->begun()};
  if (ledger.error().code != ENOENT) spdlog::error("{}", ledger.error().ToString());
  return {};
}

// Calls were not answered and releases change nothing here: only bytes count.
Result<void> ReplayQueue(shm::LaneConsumer* lane, uint32_t mount, const Done& done,
                         const std::string& directory, const ContentTable& contents,
                         const std::string& name) {
  lane->FrontendGone();
  shm::LaneConsumer::Item item;
  std::string why;
  size_t writes = 0;
  for (;;) {
    const auto next = lane->Pop(&item, &why);
    if (next == shm::LaneConsumer::Next::kCorrupt) {
      spdlog::error("{} is corrupt: {}", name, why);
      break;
    }
    if (next == shm::LaneConsumer::Next::kEmpty) break;
    if (item.op != shm::QueueOp::kWrite || lane->popped() <= done.handled) continue;
    const AttachedRecord* entry = contents.Find(item.inode);
    if (entry == nullptr || !entry->dirty) continue;
    // Applied before the file was cut: now it would undo that.
    if (entry->cut.mount == mount && lane->popped() < entry->cut.position) continue;
    AIRSTORE_TRY(WriteAll(directory + "/" + std::to_string(entry->file), item.data, item.offset,
                          (item.flags & shm::kWriteAppends) != 0, lane->popped() == done.begun));
    lane->MarkApplied();  // once: a later one may have been written over it when this is repeated
    ++writes;
  }
  lane->MarkApplied();
  if (writes != 0) spdlog::info("{}: {} queued writes applied", name, writes);
  return {};
}

struct LaneFiles {
  std::string name;
  UniqueFd lane;
  UniqueFd arena;
};

// Nothing: there is none, or it cannot be opened, which is logged.
std::optional<LaneFiles> OpenLane(const std::string& spool, uint32_t mount) {
  LaneFiles files;
  files.name = spool + "/lane-" + std::to_string(mount);
  files.lane.reset(open(files.name.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!files.lane && errno == ENOENT) return std::nullopt;
  const std::string arena = spool + "/arena-" + std::to_string(mount);
  files.arena.reset(open(arena.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (files.lane && files.arena) return files;
  spdlog::error("{} cannot be opened: {}", files.name, strerror(errno));
  return std::nullopt;
}

void RemoveLane(const std::string& spool, uint32_t mount) {
  for (const char* file : {"lane", "arena", "ledger"}) {
    (void)unlink((spool + "/" + file + "-" + std::to_string(mount)).c_str());
  }
}

bool OfOtherAbi(const std::string& spool, uint32_t mount) {
  const LaneAbi abi = AbiOfLane(spool, mount);
  return abi.major != 0 && abi.major != shm::AbiMajor();
}

// Out of the way of the next mount.
void KeepLane(const std::string& spool, uint32_t mount) {
  for (const char* file : {"lane", "arena"}) {
    const std::string path = spool + "/" + file + "-" + std::to_string(mount);
    (void)rename(path.c_str(), (path + ".unread").c_str());
  }
}

// `unread`: set when it is not one that we can read.
Result<void> Replay(LaneFiles files, const std::string& spool, uint32_t mount,
                    const std::string& directory, const shm::SessionId& session,
                    const ContentTable& contents, bool* unread) {
  auto lane = Adopt(std::move(files.lane), std::move(files.arena), session, mount);
  if (!lane) {
    spdlog::error("{}: {}", files.name, lane.error().ToString());
    if (OfOtherAbi(spool, mount)) *unread = true;
    return {};
  }
  return ReplayQueue(lane->get(), mount, DoneBefore(**lane, spool, mount), directory, contents,
                     files.name);
}

}  // namespace

Task<Result<void>> ReplayLanes(boost::asio::any_io_executor executor, std::string spool,
                               std::string content_directory, shm::SessionId session,
                               const ContentTable& contents, bool* unread) {
  for (uint32_t mount = 0; mount < shm::kMaxMounts; ++mount) {
    auto files = OpenLane(spool, mount);
    if (!files) continue;
    // Frontends end with their broker, but not at once, and until then they accept writes.
    bool told = false;
    while (HeldElsewhere(files->lane.get())) {
      if (!std::exchange(told, true)) spdlog::info("{} is still in use; waiting", files->name);
      boost::asio::steady_timer timer(executor, kFrontendPoll);
      co_await timer.async_wait(boost::asio::use_awaitable);
    }
    AIRSTORE_TRY_CO(
        Replay(std::move(*files), spool, mount, content_directory, session, contents, unread));
  }
  co_return Result<void>{};
}

Result<bool> ReplayOtherLanes(const std::string& spool, const std::string& content_directory,
                              const shm::SessionId& session, const ContentTable& contents,
                              const std::set<uint32_t>& living) {
  bool any = false;
  for (uint32_t mount = 0; mount < shm::kMaxMounts; ++mount) {
    if (living.contains(mount)) continue;
    auto files = OpenLane(spool, mount);
    if (!files) continue;
    for (int tries = 0; HeldElsewhere(files->lane.get()); ++tries) {
      if (tries == kMostPolls) return Error{EBUSY, files->name + " is still in use"};
      std::this_thread::sleep_for(kFrontendPoll);
    }
    any = true;
    bool unread = false;
    AIRSTORE_TRY(
        Replay(std::move(*files), spool, mount, content_directory, session, contents, &unread));
    if (unread) {
      KeepLane(spool, mount);
    } else {
      RemoveLane(spool, mount);
    }
  }
  return any;
}

void DropLanes(const std::string& spool) {
  for (uint32_t mount = 0; mount < shm::kMaxMounts; ++mount) RemoveLane(spool, mount);
}

}  // namespace airstore::broker
