// SPDX-License-Identifier: Apache-2.0
//
// Broker: all sessions and mounts of this host's broker, behind BrokerApi.
// Threads: the event loop.
// Owns: sessions and mounts; declaration order is the reverse of teardown order.
#pragma once

#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "broker/broker_api.h"
#include "broker/clock_watch.h"
#include "broker/gateway_health.h"
#include "broker/lost_found.h"
#include "broker/mount.h"
#include "broker/options.h"
#include "broker/recovery.h"
#include "broker/session.h"
#include "broker/spool_budget.h"

namespace airstore::broker {

// Makes the client of a gateway; a failure for people when the address cannot be used.
using GatewayFactory = std::function<Outcome<std::shared_ptr<Gateway>>(const std::string& address,
                                                                       const std::string& token)>;
using ExplainOpen = std::function<Failure(const Error& error, const std::string& address,
                                          const std::string& workspace)>;

class Broker : public BrokerApi {
 public:
  Broker(boost::asio::any_io_executor executor, Options options, std::string spool,
         GatewayFactory make_gateway, ExplainOpen explain_open);
  ~Broker() override;

  Task<Outcome<MountStatus>> Mount(const Caller& caller, const MountSpec& spec,
                                   ProgressFn progress) override;
  Task<Outcome<LeftUnsent>> Unmount(const Caller& caller, const std::string& mountpoint, bool force,
                                    ProgressFn progress) override;
  Outcome<BrokerStatus> Status(const Caller& caller, const std::string& mountpoint) override;
  Task<Outcome<std::vector<DirtyFile>>> Dirty(const Caller& caller,
                                              const std::string& mountpoint) override;
  Task<Outcome<Evicted>> Evict(const Caller& caller, const std::string& path) override;
  Task<Outcome<Nothing>> Flush(const Caller& caller, const std::string& mountpoint,
                               uint64_t timeout_ms, ProgressFn progress) override;
  Task<Outcome<Nothing>> Upgrade(const Caller& caller, std::string program,
                                 ProgressFn progress) override;
  Outcome<std::vector<LostFile>> Lost(const Caller& caller) override;
  Outcome<std::string> ReadLost(const Caller& caller, const std::string& id,
                                uint64_t offset) override;
  Outcome<Nothing> DiscardLost(const Caller& caller, const std::string& id) override;
  Outcome<TraceAnswer> Trace(const Caller& caller, const std::string& mountpoint, uint64_t after,
                             int64_t slow_ns) override;
  std::string default_gateway() const override { return options_.gateway; }
  using HandOver = std::function<Task<Outcome<Nothing>>(std::string program, ProgressFn progress)>;
  // Who carries an upgrade out.
  void OnUpgrade(HandOver hand_over) { hand_over_ = std::move(hand_over); }
  // Waits until no mount is being made, ended or recovered; a successor would find half of it.
  // False: that takes too long. When it is true, nothing else has run since.
  Task<bool> Settle();
  // For status: of the connection to that address.
  using HealthOf = std::function<GatewayHealth(const std::string& address)>;
  void OnHealth(HealthOf health_of) { health_of_ = std::move(health_of); }
  void TellMetricsAddress(std::string address) { metrics_ = std::move(address); }
  // From here on nothing of ours is touched any more, and frontends look for the next broker. The
  // loop does not run any more, and nothing may be called but the destructor.
  void LetGo();

  // Unmounts everything and waits until the gateways have all changes, or until `patience` is over;
  // then the next broker goes on.
  // False: something is left in the spool.
  Task<bool> Shutdown(std::chrono::milliseconds patience);

 private:
  struct SessionSlot {
    Secret token;  // to find a session without asking the gateway
    std::string asked_workspace;
    std::unique_ptr<Session> session;
    uint32_t users = 0;           // mounts, mounts being made or unmade
    std::set<uint32_t> starting;  // indexes of mounts being made
    bool closing = false;
  };
  using SlotPtr = std::shared_ptr<SessionSlot>;
  using MountPtr = std::shared_ptr<broker::Mount>;
  using RecoveryPtr = std::shared_ptr<Recovery>;

  // `in_the_way`: set when the workspace has an earlier session that is not at its end.
  Task<Outcome<SlotPtr>> FindOrOpenSession(const MountSpec& spec, RecoveryPtr* in_the_way,
                                           const ProgressFn& progress);
  // Waits a little for a gateway that is not there: it may be on its way.
  Task<Result<OpenedSession>> OpenSoon(Gateway* gateway, const MountSpec& spec,
                                       const shm::SessionId& id, const ProgressFn& progress);
  Task<void> AwaitRecovery(const Caller& caller, RecoveryPtr recovery, const ProgressFn& progress);
  RecoveryPtr FindRecovery(const std::string& gateway, const std::string& workspace_id) const;
  Result<std::string> MakeSpool(const shm::SessionId& id);
  void RemoveSpool(const Session& session);
  SessionOptions OptionsFor(const std::string& gateway, const std::string& spool,
                            const std::string& store_dir, const ServiceSettings& services);
  // broker_services.cc
  TraceSettings Tracing() const;
  // What the mount asks for, and where it says nothing, what is configured.
  ServiceSettings SettingsFor(const MountSpec& spec) const;
  // What a mount must not ask for, because the session has it otherwise; empty: nothing.
  std::string Disagreement(const MountSpec& spec, const ServiceSettings& session) const;

  // broker_adopt.cc: what earlier brokers have left.
  void TakeUpSpool();
  // Serves on the mounts that can be; false: none, and the session is to be recovered.
  bool AdoptSession(const std::string& path, const SessionManifest& manifest);
  bool AdoptMount(const SlotPtr& slot, const MountManifest& manifest, FrontendLink link);
  void SaveLeftover(const std::string& path);
  Task<bool> DrainSession(SlotPtr slot, std::chrono::milliseconds patience,
                          const ProgressFn& progress);
  Task<void> DropSessionIfUnused(SlotPtr slot);
  // The last mount has gone before everything was sent: the session goes when it is.
  Task<void> DropSessionWhenClean(SlotPtr slot);
  // broker_recover.cc
  Outcome<LostEntry> FindLost(const Caller& caller, const std::string& id) const;
  void CountLost(const std::vector<LostEntry>& entries);
  // broker_token.cc
  // Gives a session another token of its principal.
  Task<Result<void>> GiveToken(SlotPtr slot, Secret token);
  // The workspace is mounted there already, and its token is not valid any more.
  Task<Outcome<MountStatus>> Remount(MountPtr mount, MountSpec spec);
  // With the backend that was asked for, or one that is to be had.
  Task<Outcome<MountPtr>> StartMount(Session* session, uint32_t index, MountOptions options);
  Failure MountFailure(const Error& error, const MountSpec& spec) const;
  void TellMountCounts();
  // Those behind the mounts that the caller may see, or behind one of them.
  std::vector<RecoveryPtr> RecoveriesOf(const Caller& caller, const std::string& mountpoint) const;
  Task<bool> DrainFor(const Caller& caller, SlotPtr slot, int64_t deadline_ns,
                      const ProgressFn& progress);
  Outcome<std::vector<SlotPtr>> SessionsOf(const Caller& caller,
                                           const std::string& mountpoint) const;
  static bool MaySee(const Caller& caller, const broker::Mount& mount);
  // Of those that the caller may see; rather the own one, where what is served has the same name.
  MountPtr FindMount(const Caller& caller, const std::string& mountpoint) const;
  Task<Outcome<LeftUnsent>> UnmountFound(MountPtr mount, bool force, ProgressFn progress);
  // What comes of mounting where this broker has a mount already; nothing: it has none.
  Task<std::optional<Outcome<MountStatus>>> InTheWay(Caller caller, MountSpec spec,
                                                     ProgressFn progress);
  // The directory to mount on. Makes the mount point its canonical path.
  Task<Outcome<std::shared_ptr<const UniqueFd>>> FindPlace(Caller caller, MountSpec* spec);

  boost::asio::any_io_executor executor_;
  Options options_;
  std::string spool_;
  GatewayFactory make_gateway_;
  ExplainOpen explain_open_;
  HandOver hand_over_;
  int64_t started_ns_;
  ClockWatch clock_;
  std::string metrics_;
  HealthOf health_of_;
  bool passthrough_;
  SpoolBudget budget_;
  SpoolBudget::Share lost_space_;
  boost::asio::thread_pool workers_;
  boost::asio::thread_pool fetchers_;  // readers wait for it, so nothing long is done there
  std::vector<RecoveryPtr> recoveries_;
  std::vector<SlotPtr> sessions_;
  std::vector<MountPtr> mounts_;
  bool opening_ = false;  // one session is opened at a time: two mounts may want the same one
  Event opened_;
  std::set<std::string> starting_;  // mount points of mounts being made
};

}  // namespace airstore::broker
