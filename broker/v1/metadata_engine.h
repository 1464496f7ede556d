// SPDX-License-Identifier: Apache-2.0
//
// LegacyMetadataEngine: records of files and directories by path, without content, as the first
// gateways keep them (filesystem.FilesystemService). A gateway without storage for workspaces has
// nothing else; then a mount shows these, read-only. They are of no workspace and last for seconds.
//
// GrpcMetadataEngine is the one over gRPC. Paths have no slash at their ends; "" is the root.
// Threads: every method is called and resumed on the event loop.
// Fails: as ContextClient.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "broker/gateway_channel.h"
#include "broker/v1/context_client.h"

namespace airstore::broker::v1 {

struct FileMetadata {
  std::string name;
  Info info;
  std::string target;  // of a symbolic link
};
struct DirectoryAccessMetadata {
  std::string id;  // of the directory: GenerateDirectoryId of what is above it, its name, version 0
  std::string name;
  uint32_t mode = 0;
};
struct DirectoryContentMetadata {
  std::string id;
  std::vector<std::string> names;
};

class LegacyMetadataEngine {
 public:
  virtual ~LegacyMetadataEngine() = default;

  virtual Task<Result<DirectoryContentMetadata>> GetDirectoryContentMetadata(std::string path) = 0;
  virtual Task<Result<DirectoryAccessMetadata>> GetDirectoryAccessMetadata(std::string path) = 0;
  virtual Task<Result<FileMetadata>> GetFileMetadata(std::string path) = 0;
  virtual Task<Result<void>> SaveDirectoryAccessMetadata(std::string path, uint32_t mode) = 0;
  virtual Task<Result<void>> SaveFileMetadata(std::string path, uint32_t mode) = 0;
  virtual Task<Result<std::vector<Entry>>> ListDirectory(std::string path) = 0;
  // A single record: what is below it stays where it is.
  virtual Task<Result<void>> RenameDirectory(std::string from, std::string to) = 0;
  virtual Task<Result<void>> DeleteDirectory(std::string path) = 0;
};

// `token` is a secret.
std::unique_ptr<LegacyMetadataEngine> MakeGrpcMetadataEngine(
    const boost::asio::any_io_executor& loop, std::shared_ptr<GatewayChannel> channel, Secret token,
    std::chrono::milliseconds call_timeout);

// The client of a gateway, or what its metadata shows as long as it has no storage.
std::unique_ptr<ContextClient> MakeClientWithMetadata(std::unique_ptr<ContextClient> client,
                                                      std::unique_ptr<LegacyMetadataEngine> engine);

}  // namespace airstore::broker::v1
