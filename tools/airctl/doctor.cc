// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/doctor.h"

#include <fcntl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include "shm/base/fd.h"
#include "tools/airctl/table.h"

namespace airstore::airctl {
namespace {

Finding FuseDevice(const std::string& path) {
  const UniqueFd device(open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (device) return {"FUSE device", true, path + " can be opened", ""};
  const int code = errno;
  const std::string says = path + ": " + strerror(code);
  if (code == EACCES || code == EPERM) return {"FUSE device", false, says, "chmod 666 " + path};
  return {"FUSE device", false, says, "modprobe fuse (of a container: --device " + path + ")"};
}

bool InPath(const std::string& program) {
  const char* path = getenv("PATH");
  std::istringstream folders(path == nullptr ? "/usr/bin:/bin" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (access((folder + "/" + program).c_str(), X_OK) == 0) return true;
  }
  return false;
}

// Root mounts FUSE by mount(2).
Finding FuseHelper(bool root) {
  if (InPath("fusermount3")) return {"FUSE helper", true, "fusermount3 is installed", ""};
  if (root) return {"FUSE helper", true, "fusermount3 is not installed; root needs none", ""};
  return {"FUSE helper", false, "fusermount3 is not installed", "apt install fuse3"};
}

bool Lists(const std::string& file, const std::string& type) {
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string word, last;
    while (words >> word) last = word;
    if (last == type) return true;
  }
  return false;
}

bool HasModule(const std::string& modules) {
  utsname name{};
  if (uname(&name) != 0) return false;
  std::ifstream index(modules + "/" + name.release + "/modules.dep");
  for (std::string line; std::getline(index, line);) {
    if (line.rfind("kernel/fs/nfs/nfsv3.ko", 0) == 0) return true;
  }
  return false;
}

Finding NfsClient(const DoctorPaths& paths) {
  if (Lists(paths.filesystems, "nfs")) {
    return {"NFS client", true, "the kernel has one", ""};
  }
  if (HasModule(paths.modules)) {
    return {"NFS client", false, "the kernel's is not loaded", "modprobe nfsv3"};
  }
  return {"NFS client", false, "this kernel has none",
          "airctl mount NAME --backend nfs --serve-only, and mount it in a guest that has one"};
}

Finding NfsHelper(const std::string& path) {
  if (access(path.c_str(), X_OK) == 0) return {"NFS helper", true, path + " is installed", ""};
  return {"NFS helper", true, path + " is not installed; it is tried only when mount(2) fails",
          "apt install nfs-common"};
}

Finding NfsUser(bool root) {
  if (root) return {"NFS user", true, "root may mount NFS", ""};
  return {"NFS user", false, "only a broker of root may mount NFS", "sudo airstored"};
}

}  // namespace

Diagnosis Diagnose(const DoctorPaths& paths, bool root) {
  Diagnosis out;
  out.findings = {FuseDevice(paths.fuse_device), FuseHelper(root), NfsClient(paths),
                  NfsHelper(paths.nfs_helper), NfsUser(root)};
  out.fuse = out.findings[0].good && out.findings[1].good;
  out.nfs = out.findings[2].good && out.findings[4].good;
  // One of the two is enough.
  for (Finding& finding : out.findings) finding.matters = !out.fuse && !out.nfs;
  return out;
}

bool IsWrong(const Diagnosis& found) {
  if (!found.fuse && !found.nfs) return true;
  return std::any_of(found.findings.begin(), found.findings.end(),
                     [](const Finding& finding) { return !finding.good && finding.matters; });
}

void PrintDiagnosis(std::ostream& out, const Diagnosis& found, bool colours) {
  Table table({"WHAT", "OK", "FOUND", "MEND IT BY"});
  for (const Finding& finding : found.findings) {
    const Cell verdict = finding.good      ? Cell("yes", Colour::kGood)
                         : finding.matters ? Cell("NO", Colour::kBad)
                                           : Cell("no", Colour::kWarn);
    table.Add({finding.what, verdict, finding.says, finding.mend});
  }
  table.Print(out, colours);
  out << "\nworkspaces can be mounted with FUSE: " << (found.fuse ? "yes" : "no")
      << "; over NFS: " << (found.nfs ? "yes" : "no") << "\n";
}

control::v1::DoctorReport ReportOf(const Diagnosis& found) {
  control::v1::DoctorReport report;
  report.set_fuse(found.fuse);
  report.set_nfs(found.nfs);
  for (const Finding& finding : found.findings) {
    control::v1::Finding* to = report.add_findings();
    to->set_what(finding.what);
    to->set_good(finding.good);
    to->set_wrong(!finding.good && finding.matters);
    to->set_says(finding.says);
    to->set_mend(finding.mend);
  }
  return report;
}

}  // namespace airstore::airctl
