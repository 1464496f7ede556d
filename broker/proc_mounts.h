// SPDX-License-Identifier: Apache-2.0
//
// What is mounted where, from /proc/self/mountinfo: asks no file system, so it cannot hang on a
// mount that nobody serves.
// Threads: any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace airstore::broker {

inline constexpr char kFuseType[] = "fuse.airstore";

struct MountedFs {
  std::string path;
  std::string type;
  std::string source;
  uint32_t major = 0;
  uint32_t minor = 0;
};

// Of the text of a mountinfo file; lines that make no sense are left out.
std::vector<MountedFs> ParseMountInfo(const std::string& text);
// The mounts of this process's namespace, oldest first.
std::vector<MountedFs> MountedFileSystems();
// What one sees at exactly this path (the last mount on it), if it is a mount point.
std::optional<MountedFs> MountedAt(const std::string& path);

}  // namespace airstore::broker
