// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/targets.h"

#include <linux/magic.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

namespace airstore::bench {
namespace {

namespace fs = std::filesystem;

constexpr long kFuseMagic = 0x65735546;  // <linux/magic.h> of Debian 12 lacks it
constexpr const char* kMemoryDirectory = "/dev/shm";

long FileSystemType(const std::string& path) {
  struct statfs stats {};
  return statfs(path.c_str(), &stats) == 0 ? static_cast<long>(stats.f_type) : 0;
}

}  // namespace

Result<std::unique_ptr<TargetSet>> TargetSet::Create(const TargetOptions& options) {
  std::unique_ptr<TargetSet> set(new TargetSet());
  AIRSTORE_TRY(set->MakeScratch());
  for (const std::string& text : options.targets) {
    const size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == text.size()) {
      return Error{EINVAL, "target '" + text + "' is not NAME=DIR"};
    }
    AIRSTORE_TRY(set->Add(text.substr(0, equals), text.substr(equals + 1)));
  }
  if (options.tmpfs) AIRSTORE_TRY(set->Add("tmpfs", kMemoryDirectory));
  if (!options.ext4.empty()) AIRSTORE_TRY(set->Add("ext4", options.ext4));
  if (options.null_server) {
    AIRSTORE_TRY(set->Serve("null", {SiblingProgram("airstore-null-fuse")}));
  }
  if (!options.loopback.empty()) {
    auto source = set->MakeDirectory(options.loopback);
    if (!source) return source.error();
    AIRSTORE_TRY(set->Serve("loopback", {SiblingProgram("airstore-loopback-fuse"), *source}));
  }
  if (set->targets_.empty()) return Error{EINVAL, "no target given"};
  for (const std::string& name : options.slow) {
    const auto named = [&](const Target& target) { return target.name == name; };
    const auto found = std::find_if(set->targets_.begin(), set->targets_.end(), named);
    if (found == set->targets_.end()) return Error{EINVAL, "--slow " + name + " is not a target"};
    found->is_slow = true;
  }
  return set;
}

TargetSet::~TargetSet() {
  // Directories on a server go before the server, the mount points after it.
  std::error_code ignored;
  const auto remove = [&ignored](const std::string& path) {
    fs::remove_all(path, ignored);
    if (ignored) {
      fprintf(stderr, "airstore-bench: left behind: %s (%s)\n", path.c_str(),
              ignored.message().c_str());
    }
  };
  for (auto path = directories_.rbegin(); path != directories_.rend(); ++path) {
    if (!path->starts_with(scratch_ + "/")) remove(*path);
  }
  servers_.clear();
  if (!scratch_.empty()) remove(scratch_);
}

Result<std::string> TargetSet::MakeDirectory(const std::string& parent) {
  std::string path = parent + "/airstore-bench-XXXXXX";
  if (mkdtemp(path.data()) == nullptr) return SysError("directory in " + parent);
  directories_.push_back(path);
  return path;
}

Result<void> TargetSet::MakeScratch() {
  auto path = MakeDirectory(kMemoryDirectory);
  if (!path) return path.error();
  directories_.clear();
  scratch_ = *path;
  return {};
}

Result<void> TargetSet::Add(const std::string& name, const std::string& parent) {
  const auto same = [&](const Target& target) { return target.name == name; };
  if (std::any_of(targets_.begin(), targets_.end(), same)) {
    return Error{EINVAL, "two targets are named " + name};
  }
  std::error_code error;
  const fs::path absolute = fs::absolute(parent, error);
  if (error) return Error{error.value(), parent};
  auto dir = MakeDirectory(absolute.string());
  if (!dir) return dir.error();
  CheckFileSystem(name, *dir);
  targets_.push_back(
      {.name = name, .dir = *dir, .is_fuse = FileSystemType(*dir) == kFuseMagic, .is_slow = false});
  return {};
}

Result<void> TargetSet::Serve(const std::string& name, std::vector<std::string> argv) {
  const std::string mountpoint = scratch_ + "/mnt-" + name;
  std::error_code error;
  if (!fs::create_directory(mountpoint, error)) {
    return Error{error.value(), "mkdir " + mountpoint};
  }
  argv.push_back(mountpoint);
  auto server = MountedServer::Start(std::move(argv), mountpoint);
  if (!server) return server.error();
  servers_.push_back(std::move(*server));
  return Add(name, mountpoint);
}

// A name that promises a kind of file system is compared with by that name.
void TargetSet::CheckFileSystem(const std::string& name, const std::string& dir) {
  const long type = FileSystemType(dir);
  if (name == "tmpfs" && type != TMPFS_MAGIC) warnings_.push_back(dir + " is not on tmpfs");
  if (name == "ext4" && type != EXT4_SUPER_MAGIC) warnings_.push_back(dir + " is not on ext4");
}

}  // namespace airstore::bench
