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
// Invalidations are written by a process beside, because the kernel may make the writer wait for a
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
#include <optional>
#include <set>
#include <string>
#include <unordered_map>

#include "broker/append_place.h"
#include "broker/broker_api.h"
#include "broker/call_trace.h"
#include "broker/call_watch.h"
#include "broker/frontend.h"
#include "broker/frontend_link.h"
#include "broker/mount_device.h"
#include "broker/mount_ledger.h"
#include "broker/mount_manifest.h"
#include "broker/mount_port.h"
#include "broker/nfs_export.h"
#include "broker/nfs_names.h"
#include "broker/notifier.h"
#include "broker/repeated_changes.h"
#include "broker/restart_policy.h"
#include "broker/running_files.h"
#include "broker/spool_budget.h"
#include "shm/counters.h"
#include "shm/lane.h"

namespace airstore::broker {

class Session;

struct MountOptions {
  MountSpec spec;
  Caller caller;
  std::string frontend_dir;
  std::string spool;  // directory for lane and arena
  std::string state_dir;
  bool passthrough = true;
  bool allow_other = true;
  std::chrono::milliseconds io_timeout{30'000};
  SpoolBudget* budget = nullptr;
  NfsExportNames nfs;  // of a mount that is served over NFS
  TraceSettings trace = {};
  // The directory of spec.mountpoint that the owner may mount on, until it is mounted.
  std::shared_ptr<const UniqueFd> place = {};
};

class Mount : public MountPort, public std::enable_shared_from_this<Mount> {
 public:
  enum class State { kStarting, kReady, kRecovering, kUnmounting, kDead, kGone };

  // Mounts and starts the frontend; returns when it serves. `workspace` is for /proc/mounts.
  static Task<Result<std::shared_ptr<Mount>>> Start(boost::asio::any_io_executor executor,
                                                    Session* session, uint32_t index,
                                                    MountOptions options);
  // Serves on a mount whose frontend has outlived its broker, with the lane that lies in
  // options.spool. The session's tables must be those adopted with the link's, and its slabs those
  // of all links of the session. The frontend is not our child: it is watched, and not reaped.
  // Who has no channel in the link has no frontend any more: another one is started on the device.
  // EPROTO when the frontend refuses; then link and mount are as they were.
  static Result<std::shared_ptr<Mount>> Adopt(boost::asio::any_io_executor executor,
                                              Session* session, MountOptions options,
                                              const MountManifest& manifest, FrontendLink* link);
  ~Mount() override;

  // EBUSY when something is open in it and `force` is not set; ESTALE when something else is
  // mounted over it. After success the frontend has ended and everything it queued is applied.
  Task<Result<void>> Stop(bool force);

  // Has clients send what they keep to themselves.
  Task<void> WriteBack();
  // The frontend looks for another broker from here on; nothing else may be called any more. Who
  // holds a lane open is taken by the successor for a frontend that may still write into it.
  void LetGo() {
    frontend_.CloseChannel();
    lane_.reset();
  }
  void SendSlab(const shm::Segment& segment);
  void SendSlabEnded(uint32_t index);
  // Hands a read-only descriptor of a content file to the frontend.
  Result<void> SendContent(uint64_t id, int file);
  MountStatus Status() const;
  const MountSpec& spec() const { return options_.spec; }
  uint32_t owner() const { return options_.caller.uid; }
  State state() const { return state_; }
  // Mounted and not on its way out.
  bool in_service() const { return state_ == State::kReady || state_ == State::kRecovering; }
  // An NFS mount that somebody else has unmounted: the kernel tells nobody.
  bool LostItsPlace() const;
  Session* session() const { return session_; }
  // Calls after that number which took at least as long, from now on; and totals.
  TraceAnswer Trace(uint64_t after, int64_t slow_ns);
  uint64_t wakeups() const { return wakeups_; }
  // What came of the call, if it was carried out before: by an earlier broker that has not
  // answered, or as the one that it asks for once more.
  std::optional<shm::Executed> ExecutedBefore(const shm::Call& call) const;
  // Of a call that takes content away, and may do more: whether an earlier broker has done that.
  std::optional<shm::Executed> CutBefore(const shm::Call& call) const;
  // What its frontend has accepted is where the session sees it.
  bool QueueApplied() const { return !in_service() || lane_->AllApplied(); }
  void SetMounts(uint32_t count) { lane_->SetMounts(count); }
  void SetWriteGate(const SpoolBudget::Gate& gate) {
    lane_->SetWriteGate(gate.wait_us_per_mib, gate.closed_ns, gate.stall_ms);
  }

  uint32_t index() const override { return index_; }
  bool passthrough() const override { return options_.passthrough; }
  uint32_t Lookups(uint32_t inode_index) const override { return lane_->Lookups(inode_index); }
  uint32_t LocalOpens(uint32_t inode_index) const override { return lane_->Opens(inode_index); }
  bool TakeUsed(uint32_t inode_index) override { return lane_->TakeUsed(inode_index); }
  void AddHazards(std::vector<uint64_t>* keys) const override { lane_->AddHazards(keys); }
  bool InWork(uint32_t slot, uint64_t position) const override {
    return lane_->Keeps(slot, position);
  }
  bool IsRun(uint64_t inode) const override {
    return device_->has_kernel() && broker::IsRun(device_->minor(), inode);
  }
  bool Answering(uint64_t inode) const override { return lane_->Answering(inode); }
  uint64_t ListedWhileChanging() const override { return lane_->Counter(shm::kChangingListed); }
  void Executed(uint32_t slot, uint64_t position, const shm::Executed& executed) override;
  Result<int32_t> BackingOpen(int file) override;
  void BackingClose(int32_t backing_id) override;
  Task<void> InvalidateName(uint64_t parent, std::string name) override;
  Task<void> FindDirectory(std::string path) override;
  Task<void> InvalidateData(uint64_t inode, uint64_t offset, uint64_t length,
                            std::optional<FileEnd> end) override;
  void InvalidateAttr(uint64_t inode) override;
  Task<void> ForgetAttributes(uint64_t inode) override;
  void InvalidateOwner(uint64_t inode) override;
  Task<void> InvalidateAll(RemoteChanges changes) override;
  bool DistrustNames() override;
  Task<void> Prune(std::vector<uint64_t> inodes) override;
  bool AnswerRequest(uint64_t unique, int error) override;
  void SetSynchronous(bool synchronous) override { lane_->SetSynchronous(synchronous); }
  void WantReads(bool wanted) override { lane_->WantReads(wanted); }
  bool TakeReads(size_t most, std::vector<shm::NotedRead>* reads, uint64_t* left_out) override {
    return lane_->TakeReads(most, reads, left_out);
  }
  Name name() const override { return {access_id_, options_.spec.backend}; }

 private:
  Mount(boost::asio::any_io_executor executor, Session* session, uint32_t index,
        MountOptions options);
  bool is_nfs() const { return options_.spec.backend == "nfs"; }
  Result<void> Prepare();
  // mount_device.cc
  Result<std::unique_ptr<MountDevice>> MakeDevice();
  Result<void> CheckDevice(int device) const;
  std::unique_ptr<MountDevice> AdoptDevice(UniqueFd device, uint32_t minor) const;
  // What a frontend that serves NFS must know besides.
  std::string ExportText() const;
  void DescribeExport(MountStatus* status) const;
  std::string ExportSource() const;
  NfsMountOptions NfsOptions() const;
  Task<Result<void>> MountExport();
  // Where what blocks in the kernel is done.
  boost::asio::thread_pool& unmounter();
  Result<void> TakeOver(const MountManifest& manifest, FrontendLink* link);
  // What the dead broker had counted.
  void TakeOverOpens();
  // From here on it serves.
  void Begin();
  // How long the frontend's requests wait for us, or for the next broker.
  void SetPatience();
  MountManifest Manifest() const;
  Task<void> Serve();
  std::string SpoolFile(const std::string& name) const {
    return options_.spool + "/" + name + "-" + std::to_string(index_);
  }
  Task<void> HandleWrite(const shm::LaneConsumer::Item& item);
  Task<void> HandleTouch(uint64_t inode, int64_t time_ns);
  void HandleRelease(const shm::LaneConsumer::Item& item);
  Task<void> HandleReadRelease(uint64_t inode, uint32_t flags, int64_t read_ns, bool counted);
  void EndOpen(uint64_t inode, uint32_t flags, bool counted);
  // Applies what is queued; false when the frontend broke the protocol.
  Task<bool> DrainLane();
  // Tells the frontend how far that is.
  void MarkDrained();
  // Puts a write into its file, when there is room for it.
  Task<uint64_t> ApplyWrite(const shm::LaneConsumer::Item& item);
  Placing PlacingOf(const shm::LaneConsumer::Item& item);
  bool AppendedBefore(const shm::LaneConsumer::Item& item);
  Task<void> NotifyWrite(uint64_t inode, uint64_t offset, uint64_t length);
  Task<void> HandleCall(shm::Call call);
  // nullptr: nobody will ask for it once more. Of what is asked for once more: when the first has
  // ended, and call->executed is what came of that.
  Task<RepeatedChanges::ChangePtr> BeginChange(shm::Call* call);
  // Nothing that the tables say is different from what the change has left.
  bool Shows(const shm::Call& call, const shm::Executed& done) const;
  void EndChange(const shm::Call& call, const RepeatedChanges::ChangePtr& change, int error,
                 bool answered);
  // Tells the caller, if it still waits. False: it does not.
  bool Answer(const shm::Call& call, const shm::RequestReply& reply, const std::string& text);
  // Nobody waits for the answer: takes back what came of the call.
  void Undo(const shm::Call& call, const shm::RequestReply& reply);
  bool NoteOpen(const shm::Call& call, const shm::RequestReply& reply);
  // For who wants to know what is read: of this open nobody hears any more.
  void NotePassthrough(const shm::Call& call, const shm::RequestReply& reply);
  // Whether there is room to note what the call has opened.
  Result<void> AdmitOpen(const shm::Call& call, const shm::RequestReply& reply);
  void NoteSpace();
  void GiveUp(uint32_t slot, int error);
  // mount_trace.cc
  void StartTrace();
  Task<void> TraceIntervals();
  void NoteCall(const shm::Call& call, const shm::RequestReply& reply, int64_t begun_ns);
  Task<void> AddToTrace(shm::Call call, int error, int64_t duration_ns);
  void Detach();
  Task<void> DetachDevice();
  Task<Result<void>> UnmountDevice(bool lazy);
  void EndForClients();

  // mount_recovery.cc
  Result<void> StartFrontend();
  // Which program it is, in the manifest.
  void NoteProgram();
  Task<void> WatchFrontend();
  // False: there is no other frontend, or none is wanted any more.
  Task<bool> Replace(ProcessEnd end);
  void RefuseBlamed(const ProcessEnd& end);
  // Those of a frontend that has ended and whose clients know of no opens.
  Task<void> CloseOpens();
  Task<void> Settled(std::chrono::seconds patience);  // not recovering any more
  Task<void> Tell(std::unique_ptr<Notifier>* notifier, std::vector<std::string> messages);
  // Has the kernel forget a name, under its directory's lock; what it returns becomes true then.
  std::shared_ptr<const bool> StartForgetting(uint64_t parent, std::string name);
  Task<void> ForgetName(uint64_t parent, std::string name, std::shared_ptr<bool> done);
  // A name that is being forgotten waits for a request that is with us.
  bool HeldUp() const;
  void Lock(const std::vector<uint64_t>& directories);
  Task<void> AwaitForgotten(std::shared_ptr<const bool> done, uint64_t distrusted_before);
  LaunchOptions LaunchOf(std::string first_argument) const;

  boost::asio::any_io_executor executor_;
  Session* session_;
  uint32_t index_;
  MountOptions options_;
  std::unique_ptr<MountDevice> device_;
  std::unique_ptr<shm::LaneConsumer> lane_;
  std::unique_ptr<MountLedger> ledger_;
  SpoolBudget::Share space_;  // of lane and arena
  Frontend frontend_;
  RestartPolicy restart_policy_;
  boost::asio::posix::stream_descriptor wake_;
  boost::asio::steady_timer restart_timer_;
  // Made when first needed. What is said of names waits for directories, and the rest must not wait
  // with it: a request that holds a directory may be waiting for that.
  std::unique_ptr<Notifier> names_notifier_;
  std::unique_ptr<Notifier> notifier_;
  std::unique_ptr<Notifier> finder_;                     // its lookups are answered by our frontend
  std::unique_ptr<boost::asio::thread_pool> unmounter_;  // ditto
  // Directories whose kernel locks requests under way hold that may wait for other mounts.
  std::multiset<uint64_t> locked_directories_;
  std::multiset<uint64_t> forgetting_;  // of which the kernel is forgetting a name
  uint64_t distrusted_ = 0;             // how often it was told to ask for every name again
  uint32_t names_awaited_ = 0;
  boost::asio::steady_timer names_timer_;  // how long they are
  Event forgot_;                           // a name, or every name
  std::shared_ptr<CallWatch> call_watch_;
  RepeatedChanges repeated_;
  std::unordered_map<uint64_t, RepeatedChanges::ChangePtr> changing_;  // by the call's position
  CallTrace trace_;
  boost::asio::steady_timer trace_timer_;
  State state_ = State::kStarting;
  bool frontend_gone_ = false;  // for good
  bool serving_ = false;
  bool detaching_ = false;
  uint64_t drains_ = 0;  // how often the lane was found empty
  uint32_t calls_in_work_ = 0;
  Event changed_;                // state, or one of the two above
  std::string problem_;          // why it is recovering or dead
  std::string last_end_;         // of the frontend that was replaced last
  uint64_t program_device_ = 0;  // of the frontend
  uint64_t program_inode_ = 0;
  int64_t frontend_since_ns_ = 0;
  uint64_t frontend_restarts_ = 0;
  uint64_t closes_ = 0;     // of all that a frontend without a kernel had open
  uint32_t notifying_ = 0;  // writes applied here that siblings are still told of
  size_t slabs_sent_ = 0;
  uint64_t wakeups_ = 0;
  uint64_t ready_us_ = 0;
  std::string access_id_;                 // by which a gateway is told of reads
  std::array<uint64_t, 256> appended_{};  // requests whose appends came last
  size_t next_appended_ = 0;
};

}  // namespace airstore::broker
