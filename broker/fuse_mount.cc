// SPDX-License-Identifier: Apache-2.0
#include "broker/fuse_mount.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <algorithm>
#include <fstream>
#include <vector>

#include "broker/proc_mounts.h"
#include "broker/run_program.h"
#include "shm/base/descriptor_message.h"

namespace airstore::broker {
namespace {

constexpr char kHelper[] = "fusermount3";

Error DeviceError(int code) {
  switch (code) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
      return {ENODEV,
              "there is no /dev/fuse: load the module (modprobe fuse) or pass the device "
              "into the container (--device /dev/fuse)"};
    case EACCES:
    case EPERM:
      return {ENODEV,
              "/dev/fuse may not be opened: it should have mode 0666 (chmod 666 /dev/fuse, "
              "or let udev set it)"};
    default:
      return SysError("open /dev/fuse", code);
  }
}

// Commas and backslashes separate options.
std::string EscapeOption(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == ',' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

struct HelperRun {
  ProgramRun ended;
  UniqueFd received;  // the descriptor it sent, if any
};

UniqueFd ReceiveFd(int socket) {
  char byte = 0;
  std::vector<UniqueFd> fds;
  if (ReceiveWithDescriptors(socket, &byte, 1, &fds) <= 0 || fds.size() != 1) return {};
  return std::move(fds[0]);
}

Result<HelperRun> RunHelper(std::vector<std::string> arguments, bool receive) {
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0) {
    return SysError("socketpair");
  }
  const UniqueFd ours(sockets[0]);
  HelperRun run;
  ProgramSpec program;
  program.arguments = std::move(arguments);
  program.arguments.insert(program.arguments.begin(), kHelper);
  program.environment = {"_FUSE_COMMFD=3"};
  program.at_three = UniqueFd(sockets[1]);
  program.on_started = [&] {
    if (receive) run.received = ReceiveFd(ours.get());
  };
  auto ended = RunProgram(std::move(program));
  if (!ended && ended.error().code == ENOENT) {
    return Error{ENODEV,
                 "fusermount3 is not installed: install the package fuse3, or run the "
                 "broker as root"};
  }
  if (!ended) return ended.error();
  run.ended = std::move(*ended);
  return run;
}

// What fusermount3 says is all there is to go by.
Error HelperError(const HelperRun& run, const char* doing) {
  const auto says = [&](const char* text) {
    return run.ended.output.find(text) != std::string::npos;
  };
  std::string message = std::string(doing) + " by fusermount3: " +
                        (run.ended.output.empty() ? "failed without a word" : run.ended.output);
  if (says("/dev/fuse: Permission denied")) return DeviceError(EACCES);
  if (says("device not found") || says("/dev/fuse: No such file")) return DeviceError(ENODEV);
  if (says("Transport endpoint")) return {ENOTCONN, std::move(message)};
  if (says("Device or resource busy")) return {EBUSY, std::move(message)};
  if (says("Permission denied") || says("not permitted") || says("no write access") ||
      says("user has no")) {
    return {EACCES, std::move(message)};
  }
  return {EIO, std::move(message)};
}

Result<UniqueFd> MountByHelperOnce(const FuseMountOptions& options, bool allow_other) {
  std::string text = options.kernel_checks ? "default_permissions," : "";
  text += "nosuid,nodev,subtype=airstore,";
  text += options.relatime ? "fsname=" : "noatime,fsname=";
  text += EscapeOption(options.source);
  if (options.read_only) text += ",ro";
  if (allow_other) text += ",allow_other";
  auto run = RunHelper({"-o", text, "--", options.mountpoint}, true);
  if (!run) return run.error();
  if (!run->received) return HelperError(*run, "mount");
  return std::move(run->received);
}

}  // namespace

bool HaveSysAdmin() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  if (syscall(SYS_capget, &header, data) != 0) return false;
  if ((data[0].effective & (1u << CAP_SYS_ADMIN)) == 0) return false;
  // Only the initial user namespace maps the whole range.
  std::ifstream map("/proc/self/uid_map");
  uint64_t inside = 0, outside = 0, count = 0;
  map >> inside >> outside >> count;
  return outside == 0 && count == UINT32_MAX;
}

Result<UniqueFd> MountDirectly(const FuseMountOptions& options) {
  UniqueFd device(open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (!device) return DeviceError(errno);
  std::string data = "fd=" + std::to_string(device.get()) +
                     ",rootmode=40000,user_id=" + std::to_string(options.owner_uid) +
                     ",group_id=" + std::to_string(options.owner_gid);
  if (options.kernel_checks) data += ",default_permissions";
  if (options.allow_other) data += ",allow_other";
  unsigned long flags = MS_NOSUID | MS_NODEV;
  flags |= options.relatime ? MS_RELATIME : MS_NOATIME;
  if (options.read_only) flags |= MS_RDONLY;
  const std::string place = options.directory < 0
                                ? options.mountpoint
                                : "/proc/self/fd/" + std::to_string(options.directory);
  if (mount(options.source.c_str(), place.c_str(), kFuseType, flags, data.c_str()) != 0) {
    const int code = errno;
    if (code == EPERM || code == EACCES) {
      return Error{EACCES, "mount " + options.mountpoint +
                               ": the kernel does not permit it (a container needs CAP_SYS_ADMIN "
                               "and a profile that allows mount)"};
    }
    return SysError("mount " + options.mountpoint, code);
  }
  return device;
}

Result<UniqueFd> MountByHelper(const FuseMountOptions& options) {
  auto device = MountByHelperOnce(options, options.allow_other);
  if (device || !options.allow_other) return device;
  if (device.error().message.find("allow_other") == std::string::npos) return device;
  return MountByHelperOnce(options, false);
}

Result<void> UnmountDirectly(const MountedFs& mounted, int flags) {
  auto place = ReachMount(mounted);
  if (!place) return place.error();
  if (umount2(place->path.c_str(), UMOUNT_NOFOLLOW | flags) == 0) return {};
  const int code = errno;
  // EINVAL: not a mount point (any more), which is what was wanted.
  if (code == EINVAL || code == ENOENT) return {};
  return SysError("unmount " + mounted.path, code);
}

Result<void> UnmountByHelper(const MountedFs& mounted, bool lazy) {
  const std::string& mountpoint = mounted.path;
  if (auto place = ReachMount(mounted); !place) return place.error();
  std::vector<std::string> arguments = {"-u"};
  if (lazy) arguments.push_back("-z");
  arguments.insert(arguments.end(), {"--", mountpoint});
  auto run = RunHelper(std::move(arguments), false);
  if (!run) return run.error();
  if (run->ended.success) return {};
  if (!MountedAt(mountpoint)) return {};
  return HelperError(*run, "unmount");
}

}  // namespace airstore::broker
