// SPDX-License-Identifier: Apache-2.0
//
// Crew: clients at work, each in a directory of its own. HardClient: one of them, a client that
// behaves as a kernel's with a hard mount does: it sends a call again until it is answered, and
// bytes again when the write verifier has changed. It works in a directory of its own and remembers
// what it was told. Fails how: what should not have been said is in problems(). Threads: one that
// works; the rest when that has ended.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/nfs/served.h"

namespace airstore::nfs_test {

class HardClient {
 public:
  // `exports`: how often the workspace was served anew; outlives this.
  HardClient(uint16_t port, const std::atomic<int>* exports) : port_(port), exports_(*exports) {}

  // Rounds of work, until it is told to end.
  void Work(const Handle& directory, const std::atomic<bool>& end);
  // So many were done; it does no more. Any thread.
  uint64_t rounds() const { return rounds_; }
  bool stopped() const { return stopped_; }
  // Name: the seed of its content.
  const std::map<std::string, uint64_t>& acknowledged() const { return acknowledged_; }
  const std::vector<std::string>& problems() const { return problems_; }
  // That the directory, which is mounted there, has what was acknowledged, and nothing else.
  void ExpectAllIn(const std::string& directory) const;

 private:
  static constexpr size_t kBytes = 30'000;

  std::string Ask(nfsproc3 procedure, const std::string& arguments);
  nfsstat3 StatusOf(nfsproc3 procedure, const std::string& arguments) {
    Body body(Ask(procedure, arguments));
    return body.Status();
  }
  // `repeated`: what a call is told that was carried out for an export that has ended since.
  void Expect(nfsproc3 procedure, const std::string& arguments, nfsstat3 repeated);
  void WriteUntilCommitted(const Handle& file, const std::string& data);
  void Round(const Handle& directory, uint64_t number);

  const uint16_t port_;
  const std::atomic<int>& exports_;
  std::atomic<uint64_t> rounds_ = 0;
  std::atomic<bool> stopped_ = false;
  std::unique_ptr<RpcClient> client_;
  uint32_t xid_ = 7'000'000;
  std::map<std::string, uint64_t> acknowledged_;
  std::vector<std::string> problems_;
};

class Crew {
 public:
  // At work from here on, in directories that begin with `name`.
  Crew(uint16_t port, const std::string& path, int clients, std::string name = "client");
  ~Crew() { End(); }
  void End();
  // Until each has done a whole round more, or has a problem.
  void AwaitProgress() const;
  // In between, what is sent again may have been carried out for the export that has ended.
  void BeginNewExport() { ++exports_; }
  void EndNewExport() { ++exports_; }
  // Of those there are. Once it has ended.
  size_t files() const;
  // Of all clients.
  uint64_t rounds() const;
  // Once it has ended: that the mount has all that was acknowledged.
  void ExpectAllIn(const std::string& mount) const;

 private:
  std::string DirectoryOf(size_t client) const { return name_ + std::to_string(client); }

  const std::string name_;
  std::atomic<bool> end_ = false;
  std::atomic<int> exports_ = 0;
  std::vector<std::unique_ptr<HardClient>> clients_;
  std::vector<std::thread> threads_;
};

}  // namespace airstore::nfs_test
