// SPDX-License-Identifier: Apache-2.0
//
// What this host has to mount with, and what would mend what it lacks.
// Threads: any. Changes nothing.
#pragma once

#include <ostream>
#include <string>
#include <vector>

namespace airstore::airctl {

struct Finding {
  std::string what;  // "FUSE device"
  bool good = false;
  std::string says;  // what was found
  std::string mend;  // a command; empty: nothing is wrong
};

struct Diagnosis {
  std::vector<Finding> findings;
  bool fuse = false;  // workspaces can be mounted with it
  bool nfs = false;
};

// Where to look; others are for tests.
struct DoctorPaths {
  std::string fuse_device = "/dev/fuse";
  std::string filesystems = "/proc/filesystems";
  std::string modules = "/lib/modules";
  std::string nfs_helper = "/sbin/mount.nfs";
};
Diagnosis Diagnose(const DoctorPaths& paths, bool root);

void PrintDiagnosis(std::ostream& out, const Diagnosis& found, bool colours);
std::string ToJson(const Diagnosis& found);

}  // namespace airstore::airctl
