// SPDX-License-Identifier: Apache-2.0
#include "tests/fault/gateway_audit.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <span>
#include <sstream>

#include "tests/e2e/support/environment.h"
#include "tests/e2e/support/files.h"
#include "tools/gateway/content.h"
#include "tools/gateway/meta/sqlite/sqlite_store.h"
#include "tools/gateway/store_url.h"

namespace airstore::fault {
namespace {

using gateway::BlockKey;

std::string Hex(std::string_view bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (const char c : bytes) {
    hex += kDigits[static_cast<unsigned char>(c) >> 4];
    hex += kDigits[c & 15];
  }
  return hex;
}

// Reads where a gateway may be at work, and changes nothing there.
class BlocksOfAnother : public gateway::BlockStore {
 public:
  explicit BlocksOfAnother(std::string root) : root_(std::move(root)) {}
  std::string_view kind() const override { return "another's"; }
  Result<std::string> Get(const BlockKey& key) override {
    const std::string name = Hex(key.id.view());
    const std::string path =
        root_ + "/" + std::to_string(key.workspace) + "/" + name.substr(0, 2) + "/" + name;
    std::ifstream file(path, std::ios::binary);
    if (!file) return Error{ENOENT, path};
    std::ostringstream bytes;
    bytes << file.rdbuf();
    return bytes.str();
  }
  Result<void> Put(const BlockKey&, std::string_view, std::string_view) override {
    return Error{EROFS, root_};
  }
  Result<std::vector<Kept>> Delete(std::span<const BlockKey>) override {
    return Error{EROFS, root_};
  }
  Result<void> List(int64_t, const std::function<void(const BlockKey&)>&) override {
    return Error{EROFS, root_};
  }

 private:
  std::string root_;
};

class Audit {
 public:
  Audit(gateway::MetadataStore& store, gateway::BlockStore& blocks)
      : store_(store), blocks_(blocks, 64u << 20) {}

  std::string Run(const std::string& workspace, const std::string& mount) {
    auto reader = store_.Read();
    if (!reader) return reader.error().ToString();
    reader_ = reader->get();
    const auto found = reader_->FindWorkspace(workspace);
    if (!found) return "the gateway does not have the workspace";
    ws_ = found->key;
    CompareDirectory(gateway::kRootInode, mount);
    if (told_ > kMostTold) wrong_ += std::to_string(told_) + " differences in all\n";
    return wrong_;
  }

 private:
  static constexpr int kMostTold = 10;

  void Complain(const std::string& path, const std::string& what) {
    if (++told_ <= kMostTold) wrong_ += "at the gateway, " + path + ": " + what + "\n";
  }

  void CompareDirectory(gateway::InodeNo ino, const std::string& path) {
    std::set<std::string> shown = e2e::NamesIn(path);
    const auto entries = reader_->ListEntries(ws_, ino, "", 1'000'000);
    for (const gateway::Entry& entry : entries) {
      const std::string below = path + "/" + entry.name;
      if (shown.erase(entry.name) == 0) {
        Complain(below, "is not shown");
        continue;
      }
      const struct stat info = e2e::Stat(below);
      if (info.st_mode != entry.inode.mode) Complain(below, "mode");
      if (info.st_nlink != entry.inode.nlink && !S_ISDIR(info.st_mode)) Complain(below, "links");
      if (S_ISDIR(info.st_mode)) CompareDirectory(entry.inode.ino, below);
      if (S_ISREG(info.st_mode)) CompareContent(entry.inode, below);
      if (S_ISLNK(info.st_mode) &&
          std::filesystem::read_symlink(below).string() != entry.inode.symlink_target) {
        Complain(below, "target");
      }
    }
    for (const std::string& name : shown) Complain(path + "/" + name, "is not there");
  }

  void CompareContent(const gateway::Inode& inode, const std::string& path) {
    const std::string shown = e2e::ReadFile(path);
    if (shown.size() != inode.size) {
      Complain(path, std::to_string(inode.size) + " bytes for " + std::to_string(shown.size()));
      return;
    }
    constexpr uint64_t kPiece = 4u << 20;
    for (uint64_t at = 0; at < inode.size; at += kPiece) {
      const uint64_t length = std::min(kPiece, inode.size - at);
      const auto extents = reader_->ListExtents(ws_, inode.ino, at, at + length);
      std::string bytes(length, '\0');
      if (!extents.empty()) {
        auto read = gateway::ReadExtents(blocks_, ws_, extents, at, length);
        if (!read) {
          Complain(path, read.error().ToString());
          return;
        }
        bytes = std::move(*read);
      }
      if (shown.compare(at, length, bytes) != 0) {
        Complain(path, "other bytes behind " + std::to_string(at));
        return;
      }
    }
  }

  gateway::MetadataStore& store_;
  gateway::Blocks blocks_;
  gateway::MetadataReader* reader_ = nullptr;
  gateway::WorkspaceKey ws_ = 0;
  std::string wrong_;
  int told_ = 0;
};

}  // namespace

std::string GatewayAudit(const e2e::Host& host, const std::string& workspace,
                         const std::string& mount) {
  if (e2e::Scaled()) {
    std::string why;
    for (const auto& [name, value] : e2e::S3Server::Get(&why)->environment()) {
      setenv(name.c_str(), value.c_str(), 1);
    }
    auto stores = gateway::OpenStores(host.metadata_url(), host.blocks_url());
    if (!stores) return stores.error().ToString();
    return Audit(*stores->metadata, *stores->blocks).Run(workspace, mount);
  }
  auto store = gateway::SqliteStore::Open(host.Path("gateway/metadata.sqlite"));
  if (!store) return store.error().ToString();
  BlocksOfAnother blocks(host.Path("gateway/blocks"));
  return Audit(**store, blocks).Run(workspace, mount);
}

}  // namespace airstore::fault
