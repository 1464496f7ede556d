// SPDX-License-Identifier: Apache-2.0
#include "broker/nfs_mount.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>

#include "broker/as_caller.h"
#include "broker/run_program.h"
#include "shm/base/fd.h"

namespace airstore::broker {
namespace {

// Of one try to unmount by force.
constexpr std::chrono::seconds kPatience{3};
constexpr char kHelper[] = "/sbin/mount.nfs";  // where mount(8) looks

// Attributes are believed for a second: then what other mounts have changed is seen. NLM would need
// a portmapper to be found, so locks are the client's own.
std::string OptionsOf(const NfsMountOptions& options) {
  const std::string port = std::to_string(options.port);
  return "nfsvers=3,proto=tcp,port=" + port + ",mountproto=tcp,mountport=" + port +
         ",nolock,noacl,hard,actimeo=1";
}

std::string FlagsOf(const NfsMountOptions& options) {
  return options.read_only ? ",nosuid,nodev,ro" : ",nosuid,nodev";
}

Result<void> MountDirectly(const NfsMountOptions& options) {
  unsigned long flags = MS_NOSUID | MS_NODEV;
  if (options.read_only) flags |= MS_RDONLY;
  const std::string host = options.source.substr(0, options.source.find(':'));
  const std::string data = OptionsOf(options) + ",addr=" + host;
  std::string place = options.mountpoint;
  if (options.directory >= 0) {
    place = "/proc/self/fd/" + std::to_string(options.directory);
    if (PathOfDescriptor(options.directory) != options.mountpoint) {
      return Error{EBUSY, options.mountpoint + " was moved meanwhile"};
    }
  }
  if (mount(options.source.c_str(), place.c_str(), "nfs", flags, data.c_str()) == 0) {
    return {};
  }
  if (errno == ENODEV) return Error{ENODEV, "NFS mount: this kernel has no NFS client"};
  return SysError("NFS mount: mount " + options.mountpoint);
}

// A program of its own can be killed when the file system does not answer; a thread of ours cannot.
Result<ProgramRun> RunOn(const std::string& mountpoint, std::vector<std::string> arguments) {
  arguments.insert(arguments.end(), {"--", mountpoint});
  ProgramSpec program;
  program.arguments = std::move(arguments);
  program.patience = kPatience;
  return RunProgram(std::move(program));
}

Result<void> RunUmount(std::vector<std::string> arguments, const std::string& mountpoint) {
  arguments.insert(arguments.begin(), {"umount", "-i"});
  auto run = RunOn(mountpoint, std::move(arguments));
  if (!run) return run.error();
  if (run->success) return {};
  return Error{EBUSY, "unmount " + mountpoint + ": " + (run->late ? "no answer" : run->output)};
}

}  // namespace

std::string NfsMountCommand(const NfsMountOptions& options) {
  return "mount -t nfs -o " + OptionsOf(options) + FlagsOf(options) + " " + options.source + " " +
         options.mountpoint;
}

Error NfsHelperError(const std::string& output, bool installed) {
  std::string lower = output;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const auto says = [&](const char* text) { return lower.find(text) != std::string::npos; };
  if (!installed && (says("mount.nfs") || (says("helper program") && says("mount")))) {
    return {ENOPKG, "nfs helper missing: " + output};
  }
  return {EIO, "NFS mount: " + (output.empty() ? "mount failed without a word" : output)};
}

Result<void> MountNfs(const NfsMountOptions& options) {
  const auto mounted = MountDirectly(options);
  // No helper can do without a client in the kernel.
  if (mounted || mounted.error().code == ENODEV || !options.by_helper) return mounted;
  ProgramSpec program;
  program.arguments = {"mount",
                       "-t",
                       "nfs",
                       "-o",
                       OptionsOf(options) + FlagsOf(options),
                       "--",
                       options.source,
                       options.mountpoint};
  auto run = RunProgram(std::move(program));
  if (!run) return mounted;
  if (run->success) return {};
  Error error = NfsHelperError(run->output, access(kHelper, X_OK) == 0);
  error.message += " (without it: " + mounted.error().ToString() + ")";
  return error;
}

void SyncNfs(const std::string& mountpoint) {
  const UniqueFd root(open(mountpoint.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (root) (void)syncfs(root.get());
}

Result<void> UnmountNfs(const MountedFs& mounted, bool force) {
  const std::string& mountpoint = mounted.path;
  auto place = ReachMount(mounted);
  if (!place) return place.error();
  if (!force) {
    if (umount2(place->path.c_str(), UMOUNT_NOFOLLOW) == 0) return {};
    return SysError("unmount " + mountpoint);
  }
  // What the client still keeps to itself would have nowhere to go, and who closes the file would
  // wait for that for ever.
  (void)RunOn(mountpoint, {"sync", "-f"});
  if (RunUmount({}, mountpoint) || RunUmount({"-f"}, mountpoint)) return {};
  return RunUmount({"-l"}, mountpoint);
}

}  // namespace airstore::broker
