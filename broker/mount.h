// SPDX-License-Identifier: Apache-2.0
//
// Mount: one mount point: its device, its frontend process, and the loop that serves its lane.
//
// Life: Start (mount, launch, wait until it serves) -> ready -> Stop (unmount, frontend ends, lane
// emptied) -> gone. A frontend that ends unexpectedly is replaced on the same device and lane
// (recovering -> ready), and nobody who uses the mount sees it. One that breaks the lane's
// protocol, or that cannot be replaced, makes the mount dead: it is detached, its opens are closed,
// and status says why.
//
// Invalidations run on a thread of this mount, because the kernel may make the sender wait for a
// lock that a request of this very mount holds; the event loop must stay free to answer that one.
//
// Threads: the event loop, but for what is said above.
// Owns: the device, the lane, the frontend.
#pragma once

#include <array>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <memory>
#include <set>
#include <string>

#include "broker/broker_api.h"
#include "broker/call_watch.h"
#include "broker/frontend.h"
#include "broker/frontend_link.h"
#include "broker/fuse_device.h"
#include "broker/mount_manifest.h"
#include "broker/mount_port.h"
#include "broker/restart_policy.h"
#include "shm/lane.h"

namespace airstore::broker {

class Session;

struct MountOptions {
  MountSpec spec;
  Caller caller;
  std::string frontend_dir;
  std::string spool;  // directory for lane and arena
  bool passthrough = true;
  std::chrono::milliseconds io_timeout{30'000};
};

class Mount : public MountPort, public std::enable_shared_from_this<Mount> {
 public:
  enum class State { kStarting, kReady, kRecovering, kUnmounting, kDead, kGone };

  // Mounts and starts the frontend; returns when it serves. `workspace` is for /proc/mounts.
  static Task<Result<std::shared_ptr<Mount>>> Start(boost::asio::any_io_executor executor,
                                                    Session* session, uint32_t index,
                                                    MountOptions options);
  // Serves on a mount whose frontend has outlived its broker, with the lane that lies in
  // options.spool. The session's tables must be those adopted with link.meta, and its slabs those
  // of link.slabs. The frontend is not our child: it is watched, and not reaped.
  // EPROTO when it refuses; then link and mount are as they were.
  static Result<std::shared_ptr<Mount>> Adopt(boost::asio::any_io_executor executor,
                                              Session* session, MountOptions options,
                                              const MountManifest& manifest, FrontendLink link);
  ~Mount() override;

  // EBUSY when something is open in it and `force` is not set. After success the frontend has
  // ended and everything it queued is applied.
  Task<Result<void>> Stop(bool force);

  void SendSlab(const shm::Segment& segment);
  // Hands a read-only descriptor of a content file to the frontend.
  Result<void> SendContent(uint64_t id, int file);
  MountStatus Status() const;
  const MountSpec& spec() const { return options_.spec; }
  uint32_t owner() const { return options_.caller.uid; }
  State state() const { return state_; }
  // Mounted and not on its way out.
  bool in_service() const { return state_ == State::kReady || state_ == State::kRecovering; }
  Session* session() const { return session_; }
  uint64_t wakeups() const { return wakeups_; }
  void SetMounts(uint32_t count) { lane_->SetMounts(count); }

  uint32_t index() const override { return index_; }
  bool passthrough() const override { return options_.passthrough; }
  uint32_t Lookups(uint32_t inode_index) const override { return lane_->Lookups(inode_index); }
  uint32_t LocalOpens(uint32_t inode_index) const override { return lane_->Opens(inode_index); }
  bool TakeUsed(uint32_t inode_index) override { return lane_->TakeUsed(inode_index); }
  void AddHazards(std::vector<uint64_t>* keys) const override { lane_->AddHazards(keys); }
  Result<int32_t> BackingOpen(int file) override;
  void BackingClose(int32_t backing_id) override;
  Task<void> InvalidateName(uint64_t parent, std::string name) override;
  Task<void> InvalidateData(uint64_t inode, uint64_t offset, uint64_t length) override;
  void InvalidateAttr(uint64_t inode) override;
  void InvalidateOwner(uint64_t inode) override;
  Task<void> InvalidateAll(RemoteChanges changes) override;
  bool DistrustNames() override;
  Task<void> Prune(std::vector<uint64_t> inodes) override;
  void SetSynchronous(bool synchronous) override { lane_->SetSynchronous(synchronous); }

 private:
  Mount(boost::asio::any_io_executor executor, Session* session, uint32_t index,
        MountOptions options);
  Result<void> Prepare();
  Result<void> TakeOver(const MountManifest& manifest, FrontendLink link);
  // From here on it serves.
  void Begin();
  MountManifest Manifest() const;
  Task<void> Serve();
  // Applies what is queued; false when the frontend broke the protocol.
  Task<bool> DrainLane();
  Task<void> NotifyWrite(uint64_t inode, uint64_t offset, uint64_t length);
  Task<void> HandleCall(shm::Call call);
  void GiveUp(uint32_t slot, int error);
  void Detach();

  // mount_recovery.cc
  Result<void> StartFrontend();
  Task<void> WatchFrontend();
  // False: there is no other frontend, or none is wanted any more.
  Task<bool> Replace(ProcessEnd end);
  void RefuseBlamed(const ProcessEnd& end);
  Task<void> Settled(std::chrono::seconds patience);  // not recovering any more
  template <typename Work>
  Task<void> OnNotifier(Work work);
  Task<void> ForgetName(uint64_t parent, std::string name);

  boost::asio::any_io_executor executor_;
  Session* session_;
  uint32_t index_;
  MountOptions options_;
  std::unique_ptr<FuseDevice> device_;
  std::unique_ptr<shm::LaneConsumer> lane_;
  Frontend frontend_;
  RestartPolicy restart_policy_;
  boost::asio::posix::stream_descriptor wake_;
  boost::asio::steady_timer restart_timer_;
  std::unique_ptr<boost::asio::thread_pool> notifier_;  // made when first needed
  // Directories whose kernel locks requests under way hold: an invalidation of a name in one of
  // them would wait for that request.
  std::multiset<uint64_t> locked_directories_;
  std::multiset<uint64_t> forgetting_;  // directories of which the kernel is told to forget a name
  std::shared_ptr<CallWatch> call_watch_;
  State state_ = State::kStarting;
  bool frontend_gone_ = false;  // for good
  bool serving_ = false;
  Event changed_;        // state, or one of the two above
  std::string problem_;  // why it is recovering or dead
  int64_t frontend_since_ns_ = 0;
  uint64_t frontend_restarts_ = 0;
  uint32_t notifying_ = 0;  // writes applied here that siblings are still told of
  size_t slabs_sent_ = 0;
  uint64_t wakeups_ = 0;
  uint64_t ready_us_ = 0;
};

}  // namespace airstore::broker
