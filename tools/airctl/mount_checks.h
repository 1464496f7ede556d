// SPDX-License-Identifier: Apache-2.0
//
// What can be said about a mount point before the broker is asked.
// Threads: any. None of these hangs on a mount that nobody serves.
#pragma once

#include <string>

#include "tools/airctl/failure.h"

namespace airstore::airctl {

// Absolute, without symbolic links; asks no mount of ours that is there.
std::string AbsoluteMountPoint(const std::string& path);

struct MountPointNeeds {
  bool allow_non_empty = false;
};
// Where is mounted when nobody says where: a directory of the caller, made when it is missing.
inline constexpr char kDefaultMountPoint[] = "/tmp/airstore";
Outcome<std::string> MakeMountPoint(const std::string& path);
// The canonical path to mount on.
Outcome<std::string> CheckMountPoint(const std::string& path, const MountPointNeeds& needs);

// This canonical path is in one of ours, or at it.
bool IsInAirstoreMount(const std::string& path);
// One of ours is mounted at this absolute path.
bool IsAirstoreMount(const std::string& path);
// ... but nobody serves it.
bool IsStaleMount(const std::string& path);
// Somebody may serve the one that is there.
bool IsServed(const std::string& path);

}  // namespace airstore::airctl
