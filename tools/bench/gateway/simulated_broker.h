// SPDX-License-Identifier: Apache-2.0
//
// A broker as a gateway sees it, without mounts and caches: a session, batches of changes, lookups,
// blocks. One call after the other; each is timed. Its calls go to one gateway.
//
// Threads: one. Ownership: owns its channel.
// Fails how: throws std::runtime_error with the gateway's words.
#pragma once

#include <airstore/storage/v2/storage.grpc.pb.h>
#include <grpcpp/grpcpp.h>

#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace airstore::bench {

namespace wire = ::airstore::storage::v2;

struct LoadCounts {
  uint64_t changes = 0;  // mutations
  uint64_t lookups = 0;
  uint64_t written_bytes = 0, read_bytes = 0;
  std::map<std::string, std::vector<double>> call_ms;  // by name of the call

  void Add(LoadCounts&& other);
};

class SimulatedBroker {
 public:
  SimulatedBroker(const std::string& address, std::string token, uint64_t seed);

  // A directory of its own in the workspace, under which the rest happens. `alone`: nobody else
  // uses the workspace, so that it gets the lease; nobody would hear that it is wanted back.
  void Open(bool alone);
  void Close();
  // Makes files, looks them up, changes their modes, removes half of them.
  void ChangeMetadata(size_t files);
  // Stores a block, gives it to a file, reads it back.
  void MoveContent(size_t bytes);
  // Files with one extent in a block of their own or, with `packed`, in common ones; they stay.
  void Fill(size_t files, bool packed, size_t name_bytes);

  LoadCounts& counts() { return counts_; }

 private:
  template <typename Method, typename Request, typename Response>
  void Call(const char* name, Method method, const Request& request, Response* response);
  wire::Mutation* Add(wire::ApplyRequest* batch);
  wire::Create* AddFile(wire::ApplyRequest* batch, const std::string& name, uint32_t mode);
  void Apply(wire::ApplyRequest* batch);
  std::string NewBlock(size_t bytes, const std::string& data);
  uint64_t NewInode();

  const std::string token_;
  std::unique_ptr<wire::Storage::Stub> storage_;
  std::mt19937_64 random_;
  std::string session_;
  uint64_t sequence_ = 0, next_inode_ = 0, end_inode_ = 0, lease_ = 0, directory_ = 1, made_ = 0;
  LoadCounts counts_;
};

}  // namespace airstore::bench
