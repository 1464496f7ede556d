// SPDX-License-Identifier: Apache-2.0
//
// What this host has to mount with, and what would mend what it lacks.
// Threads: any. Changes nothing.
#pragma once

#include <airstore/control/v1/report.pb.h>

#include <ostream>
#include <string>
#include <vector>

namespace airstore::airctl {

struct Finding {
  std::string what;  // "FUSE device"
  bool good = false;
  std::string says;     // what was found
  std::string mend;     // a command; empty: nothing is wrong
  bool matters = true;  // if it is not good, something is wrong; else it is only worth knowing
};

struct Diagnosis {
  std::vector<Finding> findings;
  bool fuse = false;  // workspaces can be mounted with it
  bool nfs = false;
};
// Something is wrong: nothing can be mounted, or a finding matters.
bool IsWrong(const Diagnosis& found);

// Where to look; others are for tests.
struct DoctorPaths {
  std::string fuse_device = "/dev/fuse";
  std::string filesystems = "/proc/filesystems";
  std::string modules = "/lib/modules";
  std::string nfs_helper = "/sbin/mount.nfs";
};
Diagnosis Diagnose(const DoctorPaths& paths, bool root);

void PrintDiagnosis(std::ostream& out, const Diagnosis& found, bool colours);
control::v1::DoctorReport ReportOf(const Diagnosis& found);

}  // namespace airstore::airctl
