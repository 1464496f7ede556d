// SPDX-License-Identifier: Apache-2.0
//
// AccessCollector: tells a session's gateway what is read in its mounts: each read that a frontend
// answers, with who had the bytes, and each open by passthrough, of which nothing more is heard.
//
// Frontends note reads in their lanes and wait for nobody; what finds no room there is counted as
// dropped. The first one after a while has the collector look two seconds later, so nothing runs
// while nobody reads. Reads become events here, up to 4,096 that wait, and go in batches of 128. A
// batch that does not arrive is sent again, a few times; an event that arrives twice has the same
// id.
//
// Threads: the event loop.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "broker/gateway_services.h"
#include "broker/mount_port.h"
#include "broker/task.h"

namespace airstore::broker {

class AccessCollector {
 public:
  // Of inodes, from "/"; those without a name are left out.
  using PathsOf = std::function<Task<std::unordered_map<uint64_t, std::string>>(
      std::unordered_set<uint64_t> inodes)>;

  // `services` may be nullptr: there is nobody to tell.
  AccessCollector(boost::asio::any_io_executor executor, Tasks* tasks, MountSet* mounts,
                  PathsOf paths_of, std::shared_ptr<GatewayServices> services);

  // Whether the gateway is to be told. One that has answered that it does not want to know is not.
  void Want(bool wanted);
  bool wanted() const { return wanted_; }
  // A mount's lane has reads. `soon`: it is filling up.
  void Noted(bool soon);
  void Opened(const MountPort& mount, uint64_t inode);
  // It is about to go.
  void Leave(MountPort* mount);
  // Sends what there is, if that goes quickly. Nothing is sent afterwards.
  Task<void> Close();

  uint64_t sent() const { return sent_; }
  uint64_t dropped() const { return dropped_; }
  size_t waiting() const { return events_.size(); }

 private:
  Task<void> Run();
  Task<void> Pause(std::chrono::milliseconds length);
  // Takes what lies in the lanes; false: all of it.
  Task<bool> Collect();
  Task<void> SendAll();
  void Add(const MountPort::Name& mount, AccessEvent event);
  std::string NextId(const MountPort::Name& mount);

  boost::asio::any_io_executor executor_;
  Tasks* tasks_;
  MountSet* mounts_;
  PathsOf paths_of_;
  std::shared_ptr<GatewayServices> services_;
  bool wanted_ = false;
  bool unwelcome_ = false;  // the gateway does not take them
  bool running_ = false;
  bool again_ = false;
  bool soon_ = false;
  bool closing_ = false;
  boost::asio::steady_timer timer_;
  Event idle_;
  std::vector<std::pair<MountPort::Name, std::vector<shm::NotedRead>>> left_;
  std::vector<std::pair<MountPort::Name, uint64_t>> opened_;
  std::deque<AccessEvent> events_;
  uint64_t numbers_ = 0;  // events so far
  uint64_t sent_ = 0;
  uint64_t dropped_ = 0;
};

}  // namespace airstore::broker
