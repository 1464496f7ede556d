// SPDX-License-Identifier: Apache-2.0
//
// A ContextClient that falls back to the metadata engine where there is no storage.
#include <sys/stat.h>

#include "broker/v1/metadata_engine.h"

namespace airstore::broker::v1 {
namespace {

class ClientWithMetadata final : public ContextClient {
 public:
  ClientWithMetadata(std::unique_ptr<ContextClient> client,
                     std::unique_ptr<LegacyMetadataEngine> engine)
      : client_(std::move(client)), engine_(std::move(engine)) {}

  Task<Result<Info>> Stat(std::string path) override {
    if (!without_storage_) {
      auto info = co_await client_->Stat(path);
      if (info || info.error().code != ENOSYS || !path.empty()) co_return info;
      without_storage_ = true;
    }
    if (path.empty()) {
      // The root is there whether anybody has saved it or not.
      auto listed = co_await engine_->ListDirectory("");
      if (!listed && listed.error().code != ENOENT) co_return listed.error();
      co_return Info{.size = 0, .mode = S_IFDIR | 0755, .mtime_s = 0};
    }
    auto found = co_await engine_->GetFileMetadata(path);
    if (!found) co_return found.error();
    co_return found->info;
  }
  Task<Result<std::vector<Entry>>> ReadDir(std::string path) override {
    if (!without_storage_) co_return co_await client_->ReadDir(path);
    auto listed = co_await engine_->ListDirectory(path);
    if (!listed && path.empty() && listed.error().code == ENOENT) co_return std::vector<Entry>();
    co_return listed;
  }
  Task<Result<std::string>> Readlink(std::string path) override {
    if (!without_storage_) co_return co_await client_->Readlink(path);
    auto found = co_await engine_->GetFileMetadata(path);
    if (!found) co_return found.error();
    if (found->target.empty()) co_return Error{EINVAL, "not a symbolic link"};
    co_return found->target;
  }
  Task<Result<TreePage>> ListTree(std::string path, int depth, int most,
                                  std::string token) override {
    if (!without_storage_) co_return co_await client_->ListTree(path, depth, most, token);
    co_return TreePage();
  }
  Task<Result<std::string>> Read(std::string path, uint64_t offset, uint64_t length) override {
    if (!without_storage_) co_return co_await client_->Read(path, offset, length);
    co_return Error{EOPNOTSUPP, "the gateway keeps no content"};
  }
  Task<Result<void>> Write(std::string path, uint64_t offset, std::string data) override {
    if (without_storage_) return Refuse();
    return client_->Write(std::move(path), offset, std::move(data));
  }
  Task<Result<void>> Create(std::string path, uint32_t mode, bool exclusive) override {
    if (without_storage_) return Refuse();
    return client_->Create(std::move(path), mode, exclusive);
  }
  Task<Result<void>> Mkdir(std::string path, uint32_t mode, bool exclusive) override {
    if (without_storage_) return Refuse();
    return client_->Mkdir(std::move(path), mode, exclusive);
  }
  Task<Result<void>> Delete(std::string path) override {
    if (without_storage_) return Refuse();
    return client_->Delete(std::move(path));
  }
  Task<Result<void>> Rename(std::string from, std::string to) override {
    if (without_storage_) return Refuse();
    return client_->Rename(std::move(from), std::move(to));
  }
  Task<Result<void>> Truncate(std::string path, uint64_t size) override {
    if (without_storage_) return Refuse();
    return client_->Truncate(std::move(path), size);
  }
  Task<Result<void>> Touch(std::string path, uint64_t size) override {
    if (without_storage_) return Refuse();
    return client_->Touch(std::move(path), size);
  }
  Task<Result<void>> Symlink(std::string target, std::string path) override {
    if (without_storage_) return Refuse();
    return client_->Symlink(std::move(target), std::move(path));
  }

  Manners manners() const override {
    Manners manners = client_->manners();
    manners.read_only = without_storage_;
    return manners;
  }
  bool refused_token() const override { return client_->refused_token(); }
  void SetToken(Secret token) override { client_->SetToken(std::move(token)); }
  const GatewayCounters& counters() const override { return client_->counters(); }
  std::string state() const override { return client_->state(); }
  void Reconnect() override { client_->Reconnect(); }
  void Configure(const ServiceSettings& settings) override { client_->Configure(settings); }
  std::shared_ptr<GatewayServices> services() override { return client_->services(); }

 private:
  static Task<Result<void>> Refuse() { co_return Error{EROFS, "the gateway has no storage"}; }

  const std::unique_ptr<ContextClient> client_;
  const std::unique_ptr<LegacyMetadataEngine> engine_;
  bool without_storage_ = false;
};

}  // namespace

std::unique_ptr<ContextClient> MakeClientWithMetadata(
    std::unique_ptr<ContextClient> client, std::unique_ptr<LegacyMetadataEngine> engine) {
  return std::make_unique<ClientWithMetadata>(std::move(client), std::move(engine));
}

}  // namespace airstore::broker::v1
