// SPDX-License-Identifier: Apache-2.0
//
// Leaving without Unmount() leaves the mount in place, for whoever holds another duplicate of the
// descriptor; with the last one gone the kernel answers ENOTCONN.
#include "broker/fuse_device.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include <cstdio>
#include <cstring>

#include "broker/as_caller.h"
#include "broker/fuse_mount.h"
#include "broker/proc_mounts.h"

namespace airstore::broker {
namespace {

// Linux 6.9, 6.16 and 6.18; Debian 12's headers are older.
struct BackingMap {
  int32_t fd;
  uint32_t flags;
  uint64_t padding;
};
constexpr unsigned long kBackingOpen = _IOW(229, 1, BackingMap);
constexpr unsigned long kBackingClose = _IOW(229, 2, uint32_t);
constexpr int32_t kNotifyResend = 7;
constexpr int32_t kNotifyIncEpoch = 8;
constexpr int32_t kNotifyPrune = 9;
struct NotifyPruneHead {
  uint32_t count;
  uint32_t padding;
  uint64_t spare;
};
constexpr uint64_t kUniqueResent = uint64_t{1} << 63;

bool KernelAtLeast(unsigned major, unsigned minor) {
  utsname name{};
  unsigned have_major = 0, have_minor = 0;
  if (uname(&name) != 0 || sscanf(name.release, "%u.%u", &have_major, &have_minor) != 2) {
    return false;
  }
  return have_major > major || (have_major == major && have_minor >= minor);
}

// A message of the daemon's own accord: unique 0, the code in place of the error.
std::string MessageOf(int32_t code, const void* body, size_t body_bytes, std::string_view name) {
  fuse_out_header header{};
  std::string message(sizeof header, '\0');
  if (body_bytes != 0) message.append(static_cast<const char*>(body), body_bytes);
  if (!name.empty()) message.append(name).push_back('\0');
  header.len = static_cast<uint32_t>(message.size());
  header.error = code;
  memcpy(message.data(), &header, sizeof header);
  return message;
}

Result<void> Notify(int device, int32_t code, const std::string& message) {
  ssize_t wrote = 0;
  do {
    wrote = write(device, message.data(), message.size());
  } while (wrote < 0 && errno == EINTR);
  if (wrote < 0) return SysError("fuse notify " + std::to_string(code));
  return {};
}

// Before anything is mounted: what would make it fail, in words.
Result<void> CheckMountPoint(const FuseMountOptions& options) {
  const std::string& path = options.mountpoint;
  const auto mounted = MountedAt(path);
  if (mounted && mounted->type == kFuseType && options.directory >= 0) {
    return Error{EBUSY, path + " is already a mount of " + mounted->source};
  }
  if (options.directory >= 0) {
    if (PathOfDescriptor(options.directory) == path) return {};
    return Error{EBUSY, path + " was moved meanwhile"};
  }
  struct stat info {};
  const int code = stat(path.c_str(), &info) == 0 ? 0 : errno;
  if (code == ENOTCONN || code == ECONNABORTED) {
    return Error{ENOTCONN, path +
                               " is a stale mount that nobody serves: clear it with "
                               "'airctl unmount --force " +
                               path + "'"};
  }
  if (mounted && mounted->type == kFuseType) {
    return Error{EBUSY, path + " is already a mount of " + mounted->source};
  }
  if (code != 0) return SysError("mount point " + path, code);
  if (!S_ISDIR(info.st_mode)) return Error{ENOTDIR, "mount point " + path};
  return {};
}

}  // namespace

struct FuseDevice::State {
  std::string mountpoint;
  UniqueFd device;
  bool by_helper = false;
  bool unmounted = false;
  uint32_t minor = 0;  // of the file system's device number: names the connection
};

FuseDevice::FuseDevice(std::unique_ptr<State> state) : state_(std::move(state)) {}
FuseDevice::~FuseDevice() = default;

Result<std::unique_ptr<FuseDevice>> FuseDevice::Mount(const FuseMountOptions& options) {
  AIRSTORE_TRY(CheckMountPoint(options));
  auto state = std::make_unique<State>();
  state->mountpoint = options.mountpoint;
  state->by_helper = !HaveSysAdmin();
  auto device = state->by_helper ? MountByHelper(options) : MountDirectly(options);
  if (!device) return device.error();
  state->device = std::move(*device);
  // By nothing but its place: others mount as well, and numbers are used again. Where it was moved
  // in this moment it has no number, and is known by its place from then on.
  const auto mounted = MountedAt(options.mountpoint);
  if (mounted && mounted->type == kFuseType && mounted->source == options.source) {
    state->minor = mounted->minor;
  }
  return std::unique_ptr<FuseDevice>(new FuseDevice(std::move(state)));
}

std::unique_ptr<FuseDevice> FuseDevice::Adopt(UniqueFd device, std::string mountpoint,
                                              uint32_t minor) {
  auto state = std::make_unique<State>();
  state->mountpoint = std::move(mountpoint);
  state->device = std::move(device);
  state->by_helper = !HaveSysAdmin();
  state->minor = minor;
  return std::unique_ptr<FuseDevice>(new FuseDevice(std::move(state)));
}

bool FuseDevice::PassthroughPossible() { return HaveSysAdmin() && KernelAtLeast(6, 9); }

int FuseDevice::fd() const { return state_->device.get(); }
const std::string& FuseDevice::mountpoint() const { return state_->mountpoint; }
uint32_t FuseDevice::minor() const { return state_->minor; }

bool FuseDevice::Mounted() const { return Found().has_value(); }

bool FuseDevice::Connected() const {
  if (fd() < 0) return false;  // of a broker that is gone, as it is on record
  pollfd connection{fd(), 0, 0};
  return poll(&connection, 1, 0) != 1 || (connection.revents & POLLERR) == 0;
}

std::optional<MountedFs> FuseDevice::Found() const {
  if (state_->minor == 0) {
    auto mounted = MountedAt(state_->mountpoint);
    return mounted && mounted->type == kFuseType ? mounted : std::nullopt;
  }
  // Without a connection the file system may have gone, and its number be another one's.
  const bool gone = !Connected();
  std::optional<MountedFs> found;
  for (MountedFs& one : MountedFileSystems()) {
    if (one.type != kFuseType || one.minor != state_->minor) continue;
    if (gone && one.path != state_->mountpoint) continue;
    if (!found || one.path == state_->mountpoint) found = std::move(one);
  }
  return found;
}

Result<int32_t> FuseDevice::BackingOpen(int file) {
  BackingMap map{file, 0, 0};
  const int id = ioctl(fd(), kBackingOpen, &map);
  if (id < 0) return SysError("register backing file");
  return static_cast<int32_t>(id);
}

void FuseDevice::BackingClose(int device, int32_t backing_id) {
  const auto id = static_cast<uint32_t>(backing_id);
  // Fails only when the connection is gone, and the registration with it.
  (void)ioctl(device, kBackingClose, &id);
}

std::string FuseDevice::InvalEntryMessage(uint64_t parent, std::string_view name) {
  fuse_notify_inval_entry_out body{};
  body.parent = parent;
  body.namelen = static_cast<uint32_t>(name.size());
  return MessageOf(FUSE_NOTIFY_INVAL_ENTRY, &body, sizeof body, name);
}

std::string FuseDevice::InvalDataMessage(uint64_t inode, uint64_t offset, uint64_t length) {
  fuse_notify_inval_inode_out body{};
  body.ino = inode;
  body.off = static_cast<int64_t>(offset);
  body.len = static_cast<int64_t>(length);
  return MessageOf(FUSE_NOTIFY_INVAL_INODE, &body, sizeof body, {});
}

std::string FuseDevice::StoreMessage(uint64_t inode, uint64_t offset, std::string_view bytes) {
  fuse_notify_store_out head{};
  head.nodeid = inode;
  head.offset = offset;
  head.size = static_cast<uint32_t>(bytes.size());
  std::string body(sizeof head, '\0');
  memcpy(body.data(), &head, sizeof head);
  body.append(bytes);
  return MessageOf(FUSE_NOTIFY_STORE, body.data(), body.size(), {});
}

Result<void> FuseDevice::NotifyInvalEntry(uint64_t parent, std::string_view name) {
  if (name.empty()) return Error{EINVAL, "fuse notify: a name is needed"};
  return Notify(fd(), FUSE_NOTIFY_INVAL_ENTRY, InvalEntryMessage(parent, name));
}

std::string FuseDevice::InvalAttrMessage(uint64_t inode) {
  fuse_notify_inval_inode_out body{};
  body.ino = inode;
  body.off = -1;  // no pages, hence no page lock
  return MessageOf(FUSE_NOTIFY_INVAL_INODE, &body, sizeof body, {});
}

Result<void> FuseDevice::NotifyInvalAttr(uint64_t inode) {
  return Notify(fd(), FUSE_NOTIFY_INVAL_INODE, InvalAttrMessage(inode));
}

Result<void> FuseDevice::NotifyInvalData(uint64_t inode, uint64_t offset, uint64_t length) {
  return Notify(fd(), FUSE_NOTIFY_INVAL_INODE, InvalDataMessage(inode, offset, length));
}

std::string FuseDevice::PruneMessage(std::span<const uint64_t> inodes) {
  std::string body(sizeof(NotifyPruneHead), '\0');
  const NotifyPruneHead head{static_cast<uint32_t>(inodes.size()), 0, 0};
  memcpy(body.data(), &head, sizeof head);
  body.append(reinterpret_cast<const char*>(inodes.data()), inodes.size_bytes());
  return MessageOf(kNotifyPrune, body.data(), body.size(), {});
}

Result<void> FuseDevice::NotifyPrune(std::span<const uint64_t> inodes) {
  return Notify(fd(), kNotifyPrune, PruneMessage(inodes));
}

Result<void> FuseDevice::NotifyIncEpoch() {
  auto sent = Notify(fd(), kNotifyIncEpoch, MessageOf(kNotifyIncEpoch, nullptr, 0, {}));
  if (!sent && sent.error().code == EINVAL) {
    return Error{ENOSYS, "fuse notify: the kernel has no mount epochs (Linux 6.16)"};
  }
  return sent;
}

Result<void> FuseDevice::Resend() {
  return Notify(fd(), kNotifyResend, MessageOf(kNotifyResend, nullptr, 0, {}));
}

Result<void> FuseDevice::Answer(uint64_t unique, int error) {
  fuse_out_header header{};
  header.len = sizeof header;
  header.error = -error;
  // Under the number it was last sent with.
  for (const uint64_t number : {unique | kUniqueResent, unique}) {
    header.unique = number;
    if (write(fd(), &header, sizeof header) == ssize_t{sizeof header}) return {};
  }
  return SysError("fuse answer");
}

Result<void> FuseDevice::Unmount(bool lazy) {
  if (state_->unmounted) return {};
  // Somebody may have unmounted us, and mounted another thing here.
  if (const auto mounted = Found()) {
    AIRSTORE_TRY(state_->by_helper ? UnmountByHelper(*mounted, lazy)
                                   : UnmountDirectly(*mounted, lazy ? MNT_DETACH : 0));
  }
  state_->unmounted = true;
  return {};
}

void FuseDevice::Abort() {
  if (!Connected() && !Found()) return;  // the number may be that of another mount by now
  const std::string path = "/sys/fs/fuse/connections/" + std::to_string(state_->minor) + "/abort";
  const UniqueFd file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (file && write(file.get(), "1", 1) == 1) return;
  // Without the control file system: a forced unmount ends the connection first, then fails or
  // not, which does not matter here.
  if (const auto mounted = Found()) (void)UnmountDirectly(*mounted, MNT_FORCE);
}

}  // namespace airstore::broker
