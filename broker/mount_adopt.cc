// SPDX-License-Identifier: Apache-2.0
//
// Mount::Adopt: a mount that goes on under a new broker.
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "broker/mount.h"
#include "broker/session.h"

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
  return manifest;
}

Result<std::shared_ptr<Mount>> Mount::Adopt(boost::asio::any_io_executor executor, Session* session,
                                            MountOptions options, const MountManifest& manifest,
                                            FrontendLink link) {
  options.spec = manifest.spec;
  options.caller = manifest.owner;
  options.passthrough = manifest.passthrough;
  std::shared_ptr<Mount> mount(new Mount(executor, session, manifest.index, std::move(options)));
  AIRSTORE_TRY(mount->TakeOver(manifest, std::move(link)));
  mount->Begin();
  return mount;
}

Result<void> Mount::TakeOver(const MountManifest& manifest, FrontendLink link) {
  if (std::string problem = VersionProblem(link); !problem.empty()) {
    return Error{EPROTO, std::move(problem)};
  }
  if (link.session != session_->id() || link.mount_index != index_) {
    return Error{EPROTO, "the frontend is of another mount"};
  }
  const std::string number = std::to_string(index_);
  auto lane = AttachSpool(options_.spool + "/lane-" + number, shm::SegmentKind::kLane,
                          session_->id(), index_);
  if (!lane) return lane.error();
  auto arena = AttachSpool(options_.spool + "/arena-" + number, shm::SegmentKind::kArena,
                           session_->id(), index_);
  if (!arena) return arena.error();
  const int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (event < 0) return SysError("eventfd");
  wake_.assign(event);
  auto meta = session_->inodes().meta().segment().OpenReadOnly();
  if (!meta) return meta.error();
  auto consumer = shm::LaneConsumer::Adopt(std::move(*lane), std::move(*arena));
  if (!consumer) return consumer.error();
  // The last step that can fail: from here on the frontend looks to us.
  AIRSTORE_TRY(Reattach(link, meta->get(), event));
  lane_ = std::move(*consumer);
  device_ =
      FuseDevice::Adopt(std::move(link.device), options_.spec.mountpoint, manifest.device_minor);
  FrontendProcess process;
  process.pid = link.pid;
  process.pidfd = std::move(link.pidfd);
  process.channel = std::move(link.channel);
  frontend_.Adopt(std::move(process));
  spdlog::info("{}: taken over from a broker that has died", options_.spec.mountpoint);
  return {};
}

}  // namespace airstore::broker
