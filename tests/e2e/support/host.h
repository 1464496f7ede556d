// SPDX-License-Identifier: Apache-2.0
//
// One gateway and one broker with state of their own, as processes, and the mounts made with them.
// Fails how: throws std::runtime_error, which ends the test with that message. When a test failed,
// the destructor prints the logs. A watchdog prints them and ends the process when a test hangs.
// Threads: the test's; Status may be called from others.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/e2e/support/janitor.h"
#include "tests/e2e/support/process.h"
#include "tests/e2e/support/stores.h"
#include "tests/e2e/support/watchdog.h"

namespace airstore::e2e {

// Why nothing can be mounted here; empty when it can.
std::string WhatIsMissing();
// Of airstored, airctl, ...: in AIRSTORE_BIN_DIR, or where they were built.
std::string Program(const std::string& name);
// Of a number in the environment.
uint64_t EnvOr(const char* name, uint64_t fallback);

struct HostOptions {
  Arguments broker_arguments = {};
  // Who dies with the write lease is waited for so long.
  Arguments gateway_arguments = {"--session-seconds", "15"};
  std::string gateway_program = "airstore-gateway";
  std::chrono::seconds patience{240};                   // of the watchdog
  std::map<std::string, std::string> environment = {};  // of gateway and broker
  std::string s3_endpoint = {};                         // empty: the service's own
  bool one_gateway = false;                             // also where there can be several
  bool block_files = false;  // blocks are in gateway/blocks, wherever metadata is
};

class Host {
 public:
  explicit Host(HostOptions options = {});
  ~Host();

  const std::string& directory() const { return janitor_.directory(); }
  std::string Path(const std::string& name) const { return directory() + "/" + name; }
  const std::string& gateway_address() const { return gateway_address_; }
  // Of more gateways on the same store, 1 and 2, each of which is started when it is first asked
  // for; 0, and where there can be one only: of the host's own.
  std::string gateway_address(size_t number) const;
  void KillGateway(size_t number) { (number == 0 ? gateway_ : others_.at(number).process).Kill(); }
  void StartGateway(size_t number);
  bool GatewayRuns(size_t number) {
    return (number == 0 ? gateway_ : others_.at(number).process).running();
  }
  std::string other_gateway_address() const { return gateway_address(1); }
  // Of all three, as mounts are given them.
  std::string gateway_addresses() const;
  // Where gateways keep their metadata, if that is there.
  RedisServer* redis() const;
  // Where the store is, as gateways are told, where it is not in the gateway's directory.
  std::string metadata_url() const;
  std::string blocks_url() const;
  std::string socket() const { return Path("state/control.sock"); }
  std::string admin_token_file() const { return Path("gateway/admin-token"); }
  const Process& broker() const { return broker_; }
  // Whether they run; what has ended is reaped.
  bool BrokerRuns() { return broker_.running(); }
  bool GatewayRuns() { return gateway_.running(); }
  // The files stay when the host ends.
  void Keep() const { janitor_.Keep(); }

  // airctl with our socket.
  Finished Airctl(const Arguments& arguments, const RunOptions& options = {}) const;
  // As JSON; throws when it fails.
  nlohmann::json AirctlJson(const Arguments& arguments) const;
  nlohmann::json Status() const { return AirctlJson({"status"}); }
  nlohmann::json MountStatus(const std::string& mountpoint) const;
  nlohmann::json SessionStatus(const std::string& workspace) const;

  // The file of a token for it.
  std::string CreateWorkspace(const std::string& name);
  std::string CreateToken(const std::string& workspace, const std::string& file,
                          const Arguments& extra = {});
  // Of a workspace made here, on the directory `name`, which it returns.
  std::string Mount(const std::string& workspace, const std::string& name,
                    const Arguments& extra = {});
  std::string MountWith(const std::string& token_file, const std::string& name,
                        const Arguments& extra);
  void Unmount(const std::string& mountpoint);

  void StartGateway();
  void StopGateway();  // SIGTERM, and waits
  void KillGateway();
  // Connections stay, answers stop.
  void FreezeGateway();
  void ThawGateway();
  void StartBroker() { StartBrokerWith({}); }
  // By a program that is given airstored's command line.
  void StartBrokerWith(const Arguments& starter);
  void StopBroker();
  // Only it: its mounts go on without a broker.
  void KillBroker();
  // By another one of that program (empty: the same). The one that goes on is ours to kill; false:
  // that is the old one.
  bool UpgradeBroker(const std::string& program, Finished* said);
  // And its frontends; the mount points are detached.
  void KillBrokerAndMounts();
  std::vector<pid_t> FrontendPids() const;
  void WipeBrokerState();
  // Unmounts, forgets all that this host knows, and mounts again: what is there then came from the
  // gateway.
  std::string RemountFresh(const std::string& workspace, const std::string& mountpoint,
                           const Arguments& extra = {});

 private:
  void DumpLogs() const;
  // With a directory of its own, a port that it writes to a file, and a log, all by that name.
  Process StartGatewayNamed(const std::string& name, std::string* address) const;

  Janitor janitor_;
  HostOptions options_;
  std::string gateway_address_;
  Arguments mount_arguments_;
  Process gateway_;
  struct Other {
    std::string address;
    Process process;
  };
  mutable std::map<size_t, Other> others_;  // by number
  Process broker_;
  Watchdog watchdog_;
};

}  // namespace airstore::e2e
