// SPDX-License-Identifier: Apache-2.0
//
// ServiceStore: what systemd does with the messages of sd_pid_notify_with_fds(3): it hears that a
// broker is ready and alive, and keeps descriptors for the next one.
// Threads: one.
#pragma once

#include <map>
#include <string>

#include "shm/base/fd.h"
#include "tests/e2e/support/host.h"

namespace airstore::fault {

class ServiceStore {
 public:
  // Brokers find it at that path, from here on and as long as it lives.
  explicit ServiceStore(const std::string& path);
  ~ServiceStore();
  ServiceStore(const ServiceStore&) = delete;
  ServiceStore& operator=(const ServiceStore&) = delete;

  // Hears what has been said.
  void Receive();
  // With the descriptors that are kept.
  void StartBroker(e2e::Host& host) const;
  bool ready() const { return ready_; }
  int alive() const { return alive_; }  // how often it said so
  pid_t main_pid() const { return main_pid_; }
  const std::map<std::string, UniqueFd>& kept() const { return kept_; }

 private:
  UniqueFd socket_;
  bool ready_ = false;
  int alive_ = 0;
  pid_t main_pid_ = 0;
  std::map<std::string, UniqueFd> kept_;
};

}  // namespace airstore::fault
