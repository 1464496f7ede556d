// SPDX-License-Identifier: Apache-2.0
//
// A Redis Cluster of real servers. Fails how: throws std::runtime_error, which ends the test with
// that message. Threads: the test's.
#pragma once

#include <string>
#include <vector>

#include "tests/e2e/support/process.h"

namespace airstore::e2e {

// On ports of this machine, which can be killed and started again: masters
// first, then `replicas` of each. Every commit is on disk before it is answered.
class RedisCluster {
 public:
  RedisCluster(const std::string& directory, int masters, int replicas = 0);

  int size() const { return static_cast<int>(servers_.size()); }
  int port(int server) const { return servers_[static_cast<size_t>(server)].port; }
  std::string url() const;  // of the first two
  void Start(int server);
  void Kill(int server) { servers_[static_cast<size_t>(server)].process.Kill(); }
  // Its answer, as redis-cli prints it; empty: it does not answer.
  std::string Ask(int server, const Arguments& command) const;
  std::string IdOf(int server) const { return Ask(server, {"CLUSTER", "MYID"}); }
  // The master that has the slot, as `by` knows it; -1: none.
  int OwnerOf(int slot, int by) const;
  void WaitUntilWhole() const;

 private:
  struct Server {
    int port = 0;
    int bus = 0;
    std::string directory;
    Process process;
  };
  std::vector<Server> servers_;
};

}  // namespace airstore::e2e
