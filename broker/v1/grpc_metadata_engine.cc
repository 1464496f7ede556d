// SPDX-License-Identifier: Apache-2.0
//
// GrpcMetadataEngine: filesystem.FilesystemService. Records hang on the id of the root.
#include <airstore/v1/filesystem.grpc.pb.h>
#include <sys/stat.h>

#include <algorithm>
#include <functional>

#include "broker/grpc_call.h"
#include "broker/grpc_status.h"
#include "broker/names.h"
#include "broker/v1/directory_id.h"
#include "broker/v1/metadata_engine.h"
#include "broker/v1/path_map.h"
#include "broker/v1/refusal.h"

namespace airstore::broker::v1 {
namespace {

namespace wire = ::filesystem;
using Service = wire::FilesystemService;
using AsyncApi = Service::StubInterface::async_interface;

// Picks the overload with a callback, not the one with a reactor.
template <typename Request, typename Response>
using Method = void (AsyncApi::*)(grpc::ClientContext*, const Request*, Response*,
                                  std::function<void(grpc::Status)>);

Info InfoOf(int64_t size, uint32_t mode, int64_t mtime_s, bool is_dir, bool is_link) {
  Info info;
  info.mode = (is_dir ? S_IFDIR : is_link ? S_IFLNK : S_IFREG) | (mode & 07777);
  info.size = is_dir ? 0 : static_cast<uint64_t>(std::max<int64_t>(size, 0));
  info.mtime_s = std::max<int64_t>(mtime_s, 0);
  return info;
}

std::string Place(const std::string& path) {
  return path.empty() ? RootDirectoryId() : JoinPath(RootDirectoryId(), path);
}

std::string IdOf(const std::string& path) {
  std::string id = RootDirectoryId();
  for (size_t at = 0; at < path.size();) {
    const size_t slash = std::min(path.find('/', at), path.size());
    id = GenerateDirectoryId(id, path.substr(at, slash - at), 0);
    at = slash + 1;
  }
  return id;
}

class GrpcMetadataEngine final : public LegacyMetadataEngine {
  // `decode(response)` sees answers with ok only.
  template <typename Response, typename Request, typename Method, typename Decode>
  auto Call(const char* name, Request request, Method method, Decode decode) {
    using Answer = std::invoke_result_t<Decode, Response&>;
    auto start = [stub = stub_.Current(), method](
                     grpc::ClientContext* context, const Request* from, Response* to,
                     std::function<void(const grpc::Status&)> on_done) {
      (stub->async()->*method)(context, from, to, std::move(on_done));
    };
    auto finish = [name, decode](const grpc::Status& status, Request&, Response& to) -> Answer {
      if (!status.ok()) return ErrorOfStatus(name, status);
      if (!to.ok()) return Refusal(name, to.error(), 0);
      return decode(to);
    };
    return UnaryCall<Request, Response>(via_, std::move(request), std::move(start),
                                        std::move(finish));
  }

 public:
  GrpcMetadataEngine(const boost::asio::any_io_executor& loop,
                     std::shared_ptr<GatewayChannel> channel, Secret token,
                     std::chrono::milliseconds timeout)
      : via_{loop, channel, std::move(token), timeout}, stub_(channel) {}

  Task<Result<FileMetadata>> GetFileMetadata(std::string path) override {
    wire::StatRequest request;
    request.set_path(Place(path));
    constexpr Method<wire::StatRequest, wire::StatResponse> kMethod = &AsyncApi::Stat;
    co_return co_await Call<wire::StatResponse>(
        "stat of metadata", std::move(request), kMethod,
        [](wire::StatResponse& answer) -> Result<FileMetadata> {
          const wire::FileStat& told = answer.info();
          if (!answer.has_info()) return Error{EPROTO, "stat of metadata: nothing"};
          FileMetadata file;
          file.name = told.name();
          file.info =
              InfoOf(told.size(), told.mode(), told.mtime(), told.is_dir(), told.is_symlink());
          file.target = told.symlink_target();
          return file;
        });
  }

  Task<Result<std::vector<Entry>>> ListDirectory(std::string path) override {
    wire::ReadDirRequest request;
    request.set_path(Place(path));
    constexpr Method<wire::ReadDirRequest, wire::ReadDirResponse> kMethod = &AsyncApi::ReadDir;
    co_return co_await Call<wire::ReadDirResponse>(
        "listing of metadata", std::move(request), kMethod,
        [](wire::ReadDirResponse& answer) -> Result<std::vector<Entry>> {
          std::vector<Entry> entries;
          for (const wire::DirEntry& entry : answer.entries()) {
            const bool link = (entry.mode() & S_IFMT) == S_IFLNK;
            if (!ValidName(entry.name())) continue;
            entries.push_back({entry.name(), InfoOf(entry.size(), entry.mode(), entry.mtime(),
                                                    entry.is_dir(), link)});
          }
          return entries;
        });
  }

  Task<Result<DirectoryContentMetadata>> GetDirectoryContentMetadata(std::string path) override {
    auto listed = co_await ListDirectory(path);
    if (!listed) co_return listed.error();
    DirectoryContentMetadata content;
    content.id = IdOf(path);
    for (Entry& entry : *listed) content.names.push_back(std::move(entry.name));
    co_return content;
  }

  Task<Result<DirectoryAccessMetadata>> GetDirectoryAccessMetadata(std::string path) override {
    auto found = co_await GetFileMetadata(path);
    if (!found) co_return found.error();
    if ((found->info.mode & S_IFMT) != S_IFDIR) co_return Error{ENOTDIR, path};
    DirectoryAccessMetadata access;
    access.id = IdOf(path);
    access.name = found->name;
    access.mode = found->info.mode;
    co_return access;
  }

  Task<Result<void>> SaveDirectoryAccessMetadata(std::string path, uint32_t mode) override {
    wire::MkdirRequest request;
    request.set_path(Place(path));
    request.set_mode(mode);
    constexpr Method<wire::MkdirRequest, wire::MkdirResponse> kMethod = &AsyncApi::Mkdir;
    co_return co_await Call<wire::MkdirResponse>("save metadata", std::move(request), kMethod,
                                                 [](auto&) { return Result<void>(); });
  }
  Task<Result<void>> SaveFileMetadata(std::string path, uint32_t mode) override {
    wire::CreateRequest request;
    request.set_path(Place(path));
    request.set_mode(mode);
    constexpr Method<wire::CreateRequest, wire::CreateResponse> kMethod = &AsyncApi::Create;
    co_return co_await Call<wire::CreateResponse>("save metadata", std::move(request), kMethod,
                                                  [](auto&) { return Result<void>(); });
  }
  Task<Result<void>> RenameDirectory(std::string from, std::string to) override {
    wire::RenameRequest request;
    request.set_old_path(Place(from));
    request.set_new_path(Place(to));
    constexpr Method<wire::RenameRequest, wire::RenameResponse> kMethod = &AsyncApi::Rename;
    co_return co_await Call<wire::RenameResponse>("rename metadata", std::move(request), kMethod,
                                                  [](auto&) { return Result<void>(); });
  }
  Task<Result<void>> DeleteDirectory(std::string path) override {
    wire::RemoveRequest request;
    request.set_path(Place(path));
    constexpr Method<wire::RemoveRequest, wire::RemoveResponse> kMethod = &AsyncApi::Remove;
    co_return co_await Call<wire::RemoveResponse>("remove metadata", std::move(request), kMethod,
                                                  [](auto&) { return Result<void>(); });
  }

 private:
  CallContext via_;
  const Stubs<Service> stub_;
};

}  // namespace

std::unique_ptr<LegacyMetadataEngine> MakeGrpcMetadataEngine(
    const boost::asio::any_io_executor& loop, std::shared_ptr<GatewayChannel> channel, Secret token,
    std::chrono::milliseconds call_timeout) {
  return std::make_unique<GrpcMetadataEngine>(loop, std::move(channel), std::move(token),
                                              call_timeout);
}

}  // namespace airstore::broker::v1
