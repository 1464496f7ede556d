// SPDX-License-Identifier: Apache-2.0
#include "broker/mount_manifest.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/property_tree/json_parser.hpp>
#include <filesystem>
#include <sstream>

#include "broker/frontend_link.h"

namespace airstore::broker {
namespace {

using boost::property_tree::ptree;

std::string FileName(uint32_t index) { return "mount-" + std::to_string(index) + ".json"; }

void PutUser(ptree* tree, const char* key, const std::optional<uint32_t>& id) {
  if (id) tree->put(key, *id);
}

std::optional<uint32_t> GetUser(const ptree& tree, const char* key) {
  const auto id = tree.get_optional<uint32_t>(key);
  return id ? std::optional<uint32_t>(*id) : std::nullopt;
}

}  // namespace

Result<void> WriteMountManifest(const std::string& directory, const MountManifest& manifest) {
  ptree tree;
  tree.put("index", manifest.index);
  tree.put("gateway", manifest.spec.gateway);
  tree.put("workspace", manifest.spec.workspace);
  tree.put("mountpoint", manifest.spec.mountpoint);
  PutUser(&tree, "show_uid", manifest.spec.uid);
  PutUser(&tree, "show_gid", manifest.spec.gid);
  tree.put("relatime", manifest.spec.relatime);
  tree.put("squash", static_cast<uint32_t>(manifest.spec.squash));
  tree.put("anonymous_uid", manifest.spec.anonymous_uid);
  tree.put("anonymous_gid", manifest.spec.anonymous_gid);
  tree.put("read_only", manifest.spec.read_only);
  tree.put("want_passthrough", manifest.spec.passthrough);
  tree.put("fsync_local", manifest.spec.fsync_local);
  tree.put("backend", manifest.spec.backend);
  tree.put("serve_only", manifest.spec.serve_only);
  tree.put("nfs_auth_none", manifest.spec.nfs_auth_none);
  tree.put("owner_uid", manifest.owner.uid);
  tree.put("owner_gid", manifest.owner.gid);
  tree.put("passthrough", manifest.passthrough);
  tree.put("device_minor", manifest.device_minor);
  tree.put("program_device", manifest.program_device);
  tree.put("program_inode", manifest.program_inode);
  tree.put("portable", manifest.portable);
  tree.put("nfs_path", manifest.nfs.path);
  tree.put("nfs_key", manifest.nfs.key);
  std::ostringstream text;
  boost::property_tree::write_json(text, tree);

  const std::string path = directory + "/" + FileName(manifest.index);
  const std::string fresh = path + ".new";
  (void)unlink(fresh.c_str());
  const UniqueFd file(
      open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return SysError("create " + fresh);
  const std::string bytes = text.str();
  if (write(file.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
    return SysError("write " + fresh);
  }
  if (rename(fresh.c_str(), path.c_str()) != 0) return SysError("rename " + fresh);
  return {};
}

Result<MountManifest> ReadMountManifest(const std::string& path) {
  try {
    ptree tree;
    boost::property_tree::read_json(path, tree);
    MountManifest manifest;
    manifest.index = tree.get<uint32_t>("index");
    manifest.spec.gateway = tree.get<std::string>("gateway");
    manifest.spec.workspace = tree.get<std::string>("workspace");
    manifest.spec.mountpoint = tree.get<std::string>("mountpoint");
    manifest.spec.uid = GetUser(tree, "show_uid");
    manifest.spec.gid = GetUser(tree, "show_gid");
    manifest.spec.relatime = tree.get<bool>("relatime", false);
    // An older broker had none; a number that means nothing here must not open the mount to root.
    const auto squash = tree.get<uint32_t>("squash", 0);
    if (squash > static_cast<uint32_t>(SquashWho::kAll)) {
      return Error{EPROTO, path + ": squash " + std::to_string(squash)};
    }
    manifest.spec.squash = static_cast<SquashWho>(squash);
    manifest.spec.anonymous_uid = tree.get<uint32_t>("anonymous_uid", kAnonymous);
    manifest.spec.anonymous_gid = tree.get<uint32_t>("anonymous_gid", kAnonymous);
    manifest.spec.read_only = tree.get<bool>("read_only");
    manifest.spec.passthrough = tree.get<bool>("want_passthrough");
    manifest.spec.fsync_local = tree.get<bool>("fsync_local", false);
    manifest.spec.backend = tree.get<std::string>("backend");
    manifest.spec.serve_only = tree.get<bool>("serve_only", manifest.spec.backend == "nfs");
    manifest.spec.nfs_auth_none = tree.get<bool>("nfs_auth_none", false);
    manifest.owner.uid = tree.get<uint32_t>("owner_uid");
    manifest.owner.gid = tree.get<uint32_t>("owner_gid");
    manifest.passthrough = tree.get<bool>("passthrough");
    manifest.device_minor = tree.get<uint32_t>("device_minor");
    manifest.program_device = tree.get<uint64_t>("program_device", 0);
    manifest.program_inode = tree.get<uint64_t>("program_inode", 0);
    manifest.portable = tree.get<uint32_t>("portable", 0);
    manifest.nfs.path = tree.get<std::string>("nfs_path", "");
    manifest.nfs.key = tree.get<std::string>("nfs_key", "");
    return manifest;
  } catch (const boost::property_tree::ptree_error& error) {
    return Error{EPROTO, path + ": " + error.what()};
  }
}

std::vector<MountManifest> MountManifestsIn(const std::string& directory) {
  std::vector<MountManifest> all;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(directory, ignored)) {
    const std::string name = entry.path().filename();
    if (name.rfind("mount-", 0) != 0 || entry.path().extension() != ".json") continue;
    auto manifest = ReadMountManifest(entry.path());
    if (manifest && FileName(manifest->index) == name) all.push_back(std::move(*manifest));
  }
  std::sort(all.begin(), all.end(),
            [](const MountManifest& a, const MountManifest& b) { return a.index < b.index; });
  return all;
}

void RemoveMountManifest(const std::string& directory, uint32_t index) {
  (void)unlink((directory + "/" + FileName(index)).c_str());
  (void)unlink((directory + "/" + FrontendSocketName(index)).c_str());
}

}  // namespace airstore::broker
