// SPDX-License-Identifier: Apache-2.0
//
// A workspace that is served over NFS, and the calls that tests make of it.
// Threads: the test's.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "tests/e2e/support/host_test.h"
#include "tests/nfs/rpc_client.h"

namespace airstore::nfs_test {

// A handle as tests keep it.
using Handle = std::string;

nfs_fh3 Wire(const Handle& handle);
filename3 WireName(const std::string& name);
// A directory and a name in it, coded.
std::string Where(const Handle& directory, const std::string& name);
sattr3 WithMode(uint32_t mode);

// Calls by their names, for where they are to succeed or fail as a whole.
class Client : public RpcClient {
 public:
  using RpcClient::RpcClient;

  // Throws when it is refused.
  Handle Mount(const std::string& path);
  nfsstat3 Getattr(const Handle& object, fattr3* out);
  nfsstat3 Lookup(const Handle& directory, const std::string& name, Handle* out);
  nfsstat3 Create(const Handle& directory, const std::string& name, const createhow3& how,
                  Handle* out);
  // GUARDED.
  nfsstat3 Make(const Handle& directory, const std::string& name, uint32_t mode, Handle* out);
  nfsstat3 Mkdir(const Handle& directory, const std::string& name, uint32_t mode, Handle* out);
  nfsstat3 Remove(const Handle& directory, const std::string& name);
  nfsstat3 Setattr(const Handle& object, const sattr3& change);
  nfsstat3 Write(const Handle& file, uint64_t offset, const std::string& data, stable_how stable,
                 WRITE3resok* out = nullptr);
  nfsstat3 Read(const Handle& file, uint64_t offset, uint32_t count, std::string* data,
                bool* end = nullptr);
  nfsstat3 Commit(const Handle& file, COMMIT3resok* out = nullptr);
  uint32_t Access(const Handle& object, uint32_t wanted);
};

class ServedTest : public e2e::HostTest {
 protected:
  void SetUp() override;
  // Of a test that AIRSTORE_NFS_LONG or AIRSTORE_NFS_FILES makes longer.
  static std::chrono::seconds Patience();
  // Another name for `airctl mount --backend nfs --serve-only`; extra arguments go to it.
  nlohmann::json Serve(const std::string& name, const e2e::Arguments& extra = {});
  // After which port and path may be others.
  void ServeAgain(const e2e::Arguments& extra = {});
  uint16_t port() const { return port_; }
  const std::string& path() const { return path_; }
  const std::string& name() const { return name_; }
  std::unique_ptr<Client> Connect() const { return std::make_unique<Client>(port_); }
  // The process that serves.
  pid_t Frontend();
  // Ends the export, and mounts what the gateway has, without any cache.
  std::string MountElsewhere();
  // Kills it and waits for the next one.
  void KillFrontend();
  void AwaitFrontendAfter(pid_t before);

 private:
  std::string name_;
  uint16_t port_ = 0;
  std::string path_;
};

}  // namespace airstore::nfs_test
