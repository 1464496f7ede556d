// SPDX-License-Identifier: Apache-2.0
//
// VirtualTree: all that a session has of virtual nodes: the overlay that its namespace asks, the
// socket of its tools, and which calls go another way than storage's.
//
// Threads: the event loop.
// Owns: overlay and socket. Stop() before the session's tasks are waited for.
#pragma once

#include <memory>
#include <string>

#include "broker/gateway.h"
#include "broker/virtual/overlay.h"
#include "broker/virtual/tool_server.h"
#include "shm/layout.h"

namespace airstore::broker {

class InodeCache;
class Tree;

struct VirtualTreeOptions {
  bool over_storage = false;  // --virtual on
  bool first_era = false;     // names as the first gateways have them: tools, sources, tasks
  std::string gateway_address;
  std::string spool;             // of the session: the ticket is kept there
  std::string socket_directory;  // of the tools' socket; others must be able to reach it
  std::string session;           // id, in hexadecimal digits
  std::string shim;              // path of airstore-shim; empty: there is none
  bool compressed = false;       // contents of sources
  int64_t io_timeout_ns = 30'000'000'000;
};

class VirtualTree {
 public:
  // `storage` has services().
  VirtualTree(boost::asio::any_io_executor executor, Tasks* tasks, std::shared_ptr<Gateway> storage,
              const VirtualTreeOptions& options);
  ~VirtualTree();

  // What the namespace asks instead of storage.
  Gateway* gateway() { return overlay_.get(); }
  VirtualOverlay& overlay() { return *overlay_; }
  // From here on it answers. `adopted`: the tables are a dead broker's.
  void Start(Tree* tree, InodeCache* inodes, bool adopted);
  void Stop();

  // A call of one of the mounts that is not storage's to carry out. 0: it is; else the errno.
  // `name`, `name2` as in the call.
  int Refusal(const shm::RequestArgs& args, const std::string& name, const std::string& name2);

 private:
  Task<void> AdoptPaths(Tree* tree, InodeCache* inodes);
  bool NamesVirtual(uint64_t parent, const std::string& name) const;

  boost::asio::any_io_executor executor_;
  Tasks* tasks_;
  std::shared_ptr<GatewayServices> services_;
  InodeCache* inodes_ = nullptr;
  VirtualTreeOptions options_;
  std::unique_ptr<VirtualOverlay> overlay_;
  std::unique_ptr<ToolServer> server_;
  std::string socket_path_;
  std::string ticket_;
};

}  // namespace airstore::broker
