// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "broker/clock.h"
#include "broker/virtual/generated_node.h"
#include "shm/base/fd.h"

namespace airstore::broker {
namespace {

constexpr char kConfigName[] = "config";
constexpr char kShimName[] = "tool-shim";

class ConfigNode final : public VirtualNode {
 public:
  explicit ConfigNode(const ToolAccess& access) : access_(access), made_ns_(RealtimeNs()) {}

  Kind kind() const override { return Kind::kReadOnly; }
  // There is when another node has something.
  bool IsOffered(const OfferedServices&) const override { return false; }
  Task<Result<bool>> HasSomething() override { co_return false; }

  Task<Result<std::vector<VirtualEntry>>> List(std::string path) override {
    if (!path.empty()) co_return Error{ENOTDIR, path};
    std::vector<VirtualEntry> entries(1, Config());
    struct stat status {};
    if (!access_.shim.empty() && stat(access_.shim.c_str(), &status) == 0) {
      VirtualEntry shim;
      shim.name = kShimName;
      shim.mode = S_IFREG | 0555;
      shim.size = static_cast<uint64_t>(status.st_size);
      shim.mtime_ns = int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
      shim.version = static_cast<uint64_t>(shim.mtime_ns) ^ shim.size;
      entries.push_back(std::move(shim));
    }
    co_return entries;
  }

  Task<Result<VirtualEntry>> Stat(std::string path) override { co_return Error{ENOENT, path}; }

  Task<Result<std::string>> Read(std::string path, uint64_t offset, uint64_t length) override {
    if (path != kShimName) co_return Error{ENOENT, path};
    const UniqueFd file(open(access_.shim.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) co_return SysError("open " + access_.shim);
    std::string data(length, '\0');
    const ssize_t got = pread(file.get(), data.data(), length, static_cast<off_t>(offset));
    if (got < 0) co_return SysError("read " + access_.shim);
    data.resize(static_cast<size_t>(got));
    co_return data;
  }

  std::chrono::milliseconds Lifetime(const std::string&, const VirtualEntry&) override {
    return std::chrono::milliseconds(0);
  }

 private:
  VirtualEntry Config() const {
    nlohmann::ordered_json json;
    json["gateway_addr"] = access_.gateway_address;
    json["socket"] = access_.socket;
    json["ticket"] = access_.ticket;
    VirtualEntry entry;
    entry.name = kConfigName;
    entry.mode = S_IFREG | 0444;
    entry.content = json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
    entry.size = entry.content->size();
    entry.mtime_ns = made_ns_;
    entry.version = XXH3_64bits(entry.content->data(), entry.content->size());
    return entry;
  }

  const ToolAccess access_;
  const int64_t made_ns_;
};

}  // namespace

std::shared_ptr<VirtualNode> MakeConfigNode(const ToolAccess& access) {
  return std::make_shared<ConfigNode>(access);
}

}  // namespace airstore::broker
