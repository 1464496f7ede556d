// SPDX-License-Identifier: Apache-2.0
#include "broker/proc_mounts.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <sstream>

namespace airstore::broker {
namespace {

// The kernel writes blanks, newlines and backslashes as \ooo.
std::string Unescape(const std::string& in) {
  std::string out;
  out.reserve(in.size());
  for (size_t i = 0; i < in.size(); ++i) {
    const auto octal = [&](size_t at) {
      return at < in.size() && in[at] >= '0' && in[at] <= '7' ? in[at] - '0' : -1;
    };
    if (in[i] == '\\' && octal(i + 1) >= 0 && octal(i + 2) >= 0 && octal(i + 3) >= 0) {
      out += static_cast<char>(octal(i + 1) * 64 + octal(i + 2) * 8 + octal(i + 3));
      i += 3;
    } else {
      out += in[i];
    }
  }
  return out;
}

// Of options as the kernel shows them.
uint16_t PortIn(const std::string& options) {
  std::istringstream parts(options);
  unsigned port = 0;
  for (std::string part; std::getline(parts, part, ',');) {
    if (sscanf(part.c_str(), "port=%u", &port) == 1 && port <= UINT16_MAX) {
      return static_cast<uint16_t>(port);
    }
  }
  return 0;
}

}  // namespace

bool IsOurNfs(const std::optional<MountedFs>& mounted) {
  return mounted && mounted->type == "nfs" && mounted->source.rfind(kNfsSource, 0) == 0;
}

std::vector<MountedFs> ParseMountInfo(const std::string& text) {
  std::vector<MountedFs> mounts;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    // ID PARENT MAJOR:MINOR ROOT PATH OPTIONS [TAG...] - TYPE SOURCE SUPEROPTIONS
    std::istringstream words(line);
    std::string id, parent, device, root, path, options, word;
    if (!(words >> id >> parent >> device >> root >> path >> options)) continue;
    while (words >> word && word != "-") {
    }
    MountedFs mount;
    if (!(words >> mount.type >> mount.source)) continue;
    if (sscanf(device.c_str(), "%u:%u", &mount.major, &mount.minor) != 2) continue;
    if (words >> options) mount.nfs_port = PortIn(options);
    mount.path = Unescape(path);
    mount.source = Unescape(mount.source);
    mounts.push_back(std::move(mount));
  }
  return mounts;
}

std::vector<MountedFs> MountedFileSystems() {
  std::ifstream file("/proc/self/mountinfo");
  return ParseMountInfo({std::istreambuf_iterator<char>(file), {}});
}

Result<MountPlace> ReachMount(const MountedFs& mounted) {
  const size_t slash = mounted.path.rfind('/');
  if (slash == std::string::npos) return Error{EINVAL, mounted.path};
  const std::string name = mounted.path.substr(slash + 1);
  const std::string above = slash == 0 ? "/" : mounted.path.substr(0, slash);
  // Not openat2(2), which service managers keep from us.
  MountPlace place;
  place.parent.reset(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  std::istringstream parts(above);
  for (std::string part; place.parent && std::getline(parts, part, '/');) {
    if (part.empty()) continue;
    place.parent = UniqueFd(
        openat(place.parent.get(), part.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  }
  if (!place.parent) return SysError("unmount " + mounted.path);
  // Asks no file system: the number is all that is wanted.
  struct statx info {};
  if (statx(place.parent.get(), name.c_str(),
            AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, 0, &info) != 0) {
    return SysError("unmount " + mounted.path);
  }
  if (info.stx_dev_major != mounted.major || info.stx_dev_minor != mounted.minor) {
    return Error{ESTALE, mounted.path + ": something else is mounted over it"};
  }
  place.path = "/proc/self/fd/" + std::to_string(place.parent.get()) + "/" + name;
  return place;
}

std::optional<MountedFs> MountedAt(const std::string& path) {
  std::optional<MountedFs> found;
  for (auto& mount : MountedFileSystems()) {
    if (mount.path == path) found = std::move(mount);
  }
  return found;
}

}  // namespace airstore::broker
