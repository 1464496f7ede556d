// SPDX-License-Identifier: Apache-2.0
//
// Mount::Adopt: a mount that goes on under a new broker.
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "broker/calls.h"
#include "broker/mount.h"
#include "broker/session.h"
#include "shm/portable.h"

namespace airstore::broker {
namespace {

Result<std::unique_ptr<shm::Segment>> AttachSpool(const std::string& path, shm::SegmentKind kind,
                                                  const shm::SessionId& session, uint32_t index) {
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return SysError("open " + path);
  return shm::Segment::Attach(std::move(fd), {kind, session, index}, true);
}

}  // namespace

MountManifest Mount::Manifest() const {
  MountManifest manifest;
  manifest.index = index_;
  manifest.spec = options_.spec;
  manifest.owner = options_.caller;
  manifest.passthrough = options_.passthrough;
  manifest.device_minor = device_->minor();
  manifest.program_device = program_device_;
  manifest.program_inode = program_inode_;
  if (program_inode_ != 0) manifest.portable = shm::kPortableVersion;
  manifest.nfs = options_.nfs;
  return manifest;
}

Result<std::shared_ptr<Mount>> Mount::Adopt(boost::asio::any_io_executor executor, Session* session,
                                            MountOptions options, const MountManifest& manifest,
                                            FrontendLink* link) {
  options.spec = manifest.spec;
  options.caller = manifest.owner;
  options.passthrough = manifest.passthrough;
  options.nfs = manifest.nfs;
  std::shared_ptr<Mount> mount(new Mount(executor, session, manifest.index, std::move(options)));
  AIRSTORE_TRY(mount->TakeOver(manifest, link));
  mount->Begin();
  mount->TakeOverOpens();
  return mount;
}

Result<void> Mount::TakeOver(const MountManifest& manifest, FrontendLink* link) {
  if (link->session != session_->id() || link->mount_index != index_) {
    return Error{EPROTO, "the frontend is of another mount"};
  }
  AIRSTORE_TRY(CheckDevice(link->device.get()));
  shm::MetaWriter& meta = session_->inodes().meta();
  auto ledger =
      MountLedger::Adopt(SpoolFile("ledger"), meta.reader().view().geometry().inode_capacity);
  if (!ledger) return ledger.error();
  auto lane = AttachSpool(SpoolFile("lane"), shm::SegmentKind::kLane, session_->id(), index_);
  if (!lane) return lane.error();
  auto arena = AttachSpool(SpoolFile("arena"), shm::SegmentKind::kArena, session_->id(), index_);
  if (!arena) return arena.error();
  const int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (event < 0) return SysError("eventfd");
  wake_.assign(event);
  auto meta_fd = meta.segment().OpenReadOnly();
  if (!meta_fd) return meta_fd.error();
  auto consumer = shm::LaneConsumer::Adopt(std::move(*lane), std::move(*arena));
  if (!consumer) return consumer.error();
  // The last step that can fail: from here on the frontend looks to us.
  if (link->channel) AIRSTORE_TRY(Reattach(*link, meta_fd->get(), event));
  lane_ = std::move(*consumer);
  ledger_ = std::move(*ledger);
  SetPatience();
  program_device_ = manifest.program_device;
  program_inode_ = manifest.program_inode;
  device_ = AdoptDevice(std::move(link->device), manifest.device_minor);
  if (!link->channel) return {};
  FrontendProcess process;
  process.pid = link->pid;
  process.pidfd = std::move(link->pidfd);
  process.channel = std::move(link->channel);
  frontend_.Adopt(std::move(process));
  return {};
}

std::optional<shm::Executed> Mount::ExecutedBefore(const shm::Call& call) const {
  if (!ChangesNames(call)) return std::nullopt;
  if (call.executed) return call.executed;
  if (call.position > lane_->adopted_until()) return std::nullopt;
  // It died before it could leave a note; then the change is still pending.
  return session_->tree().ExecutedBefore({index_, call.position});
}

std::optional<shm::Executed> Mount::CutBefore(const shm::Call& call) const {
  if (call.executed) return call.executed;
  if (call.position > lane_->adopted_until()) return std::nullopt;
  return session_->tree().ExecutedBefore({index_, call.position});
}

void Mount::TakeOverOpens() {
  if (lane_->Unanswered(ledger_->last_opened())) ledger_->TakeBackLastOpened();
  for (const auto& [index, opens] : ledger_->AllOpens()) {
    const shm::InodeRecord record = session_->inodes().meta().Inode(index);
    if (record.inode == 0) continue;
    session_->contents().AdoptOpens(index_, record.inode, opens);
  }
  for (const auto& append : lane_->Appends()) {
    session_->contents().AdoptAppend({index_, append.slot, append.position}, append.inode,
                                     append.end);
  }
  for (const int32_t id : ledger_->IdleBackings()) BackingClose(id);
}

}  // namespace airstore::broker
