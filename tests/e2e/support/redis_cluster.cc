// SPDX-License-Identifier: Apache-2.0
#include "tests/e2e/support/redis_cluster.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <filesystem>
#include <sstream>
#include <stdexcept>

#include "shm/base/fd.h"

namespace airstore::e2e {
namespace {

int FreePort(std::vector<UniqueFd>* held) {
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    throw std::runtime_error("no free port");
  }
  held->push_back(std::move(fd));
  return ntohs(address.sin_port);
}

}  // namespace

RedisCluster::RedisCluster(const std::string& directory, int masters, int replicas) {
  servers_.resize(static_cast<size_t>(masters * (1 + replicas)));
  // All are held until all are known, so that none is given twice.
  std::vector<UniqueFd> held;
  for (Server& server : servers_) {
    server.port = FreePort(&held);
    server.bus = FreePort(&held);
    server.directory = directory + "/" + std::to_string(server.port);
    std::filesystem::create_directories(server.directory);
  }
  held.clear();
  Arguments create = {"redis-cli", "--cluster", "create"};
  for (int i = 0; i < size(); ++i) {
    Start(i);
    create.push_back("127.0.0.1:" + std::to_string(port(i)));
  }
  create.insert(create.end(), {"--cluster-replicas", std::to_string(replicas), "--cluster-yes"});
  const Finished created = RunProgram(create);
  if (created.code != 0) throw std::runtime_error("cluster: " + created.out + created.err);
  WaitUntilWhole();
  const std::string all = "connected_slaves:" + std::to_string(replicas);
  const bool joined = WaitUntil(std::chrono::seconds(60), [&] {
    for (int i = 0; i < masters; ++i) {
      if (Ask(i, {"INFO", "replication"}).find(all) == std::string::npos) return false;
    }
    return true;
  });
  if (!joined) throw std::runtime_error("the replicas do not join their masters");
}

void RedisCluster::Start(int server) {
  Server& one = servers_[static_cast<size_t>(server)];
  const Arguments words = {"redis-server",
                           "--port",
                           std::to_string(one.port),
                           "--cluster-port",
                           std::to_string(one.bus),
                           "--bind",
                           "127.0.0.1",
                           "--dir",
                           one.directory,
                           "--cluster-enabled",
                           "yes",
                           "--cluster-config-file",
                           "nodes.conf",
                           "--cluster-node-timeout",
                           "2000",
                           "--appendonly",
                           "yes",
                           "--appendfsync",
                           "always",
                           "--save",
                           "",
                           "--repl-diskless-sync-delay",
                           "0"};
  one.process = Process(words, {.output_file = one.directory + "/redis.log"});
  const bool up = WaitUntil(std::chrono::seconds(60), [&] {
    return !one.process.running() || Ask(server, {"PING"}) == "PONG";
  });
  if (!up || !one.process.running()) throw std::runtime_error("redis-server did not start");
}

std::string RedisCluster::url() const {
  std::string url = "redis+cluster://";
  for (int i = 0; i < std::min(size(), 2); ++i) {
    url += (i == 0 ? "" : ",") + ("127.0.0.1:" + std::to_string(port(i)));
  }
  return url;
}

std::string RedisCluster::Ask(int server, const Arguments& command) const {
  Arguments words = {"redis-cli", "-h", "127.0.0.1", "-p", std::to_string(port(server))};
  words.insert(words.end(), command.begin(), command.end());
  const Finished finished = RunProgram(words);
  if (finished.code != 0) return {};
  std::string out = finished.out;
  while (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

// A line of CLUSTER NODES: id, address, flags, master, ping, pong, epoch, state, slots.
int RedisCluster::OwnerOf(int slot, int by) const {
  std::istringstream nodes(Ask(by, {"CLUSTER", "NODES"}));
  for (std::string line; std::getline(nodes, line);) {
    std::istringstream words(line);
    std::string id, address, word;
    words >> id >> address;
    for (int i = 0; i < 6; ++i) words >> word;
    while (words >> word) {
      if (word.front() == '[') continue;
      const size_t dash = word.find('-');
      const int first = std::stoi(word);
      const int last = dash == std::string::npos ? first : std::stoi(word.substr(dash + 1));
      if (slot < first || slot > last) continue;
      for (int i = 0; i < size(); ++i) {
        if (address.starts_with("127.0.0.1:" + std::to_string(port(i)) + "@")) return i;
      }
    }
  }
  return -1;
}

void RedisCluster::WaitUntilWhole() const {
  const bool whole = WaitUntil(std::chrono::seconds(60), [&] {
    for (int i = 0; i < size(); ++i) {
      if (Ask(i, {"CLUSTER", "INFO"}).find("cluster_state:ok") == std::string::npos) return false;
    }
    return true;
  });
  if (!whole) throw std::runtime_error("the cluster is not whole");
}

}  // namespace airstore::e2e
