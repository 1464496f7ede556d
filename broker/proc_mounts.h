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

#include "shm/base/fd.h"
#include "shm/base/result.h"

namespace airstore::broker {

inline constexpr char kFuseType[] = "fuse.airstore";

struct MountedFs {
  std::string path;
  std::string type;
  std::string source;
  uint32_t major = 0;
  uint32_t minor = 0;
  uint16_t nfs_port = 0;  // of an NFS server; 0: not said
};

// NFS clients mount our exports from here.
inline constexpr char kNfsSource[] = "127.0.0.1:/airstore-";
// One that this host's kernel has mounted.
bool IsOurNfs(const std::optional<MountedFs>& mounted);

// Of the text of a mountinfo file; lines that make no sense are left out.
std::vector<MountedFs> ParseMountInfo(const std::string& text);
// The mounts of this process's namespace, oldest first.
std::vector<MountedFs> MountedFileSystems();
// A way to a mount point that nobody can turn elsewhere while it is used: its last part lies in a
// directory that is held.
struct MountPlace {
  UniqueFd parent;
  std::string path;
};
// ESTALE: something else is mounted over it. May hang, where the directories above do.
Result<MountPlace> ReachMount(const MountedFs& mounted);
// What one sees at exactly this path (the last mount on it), if it is a mount point.
std::optional<MountedFs> MountedAt(const std::string& path);

}  // namespace airstore::broker
