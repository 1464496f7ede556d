// SPDX-License-Identifier: Apache-2.0
#include "broker/frontend_link.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>

#include "shm/abi.h"
#include "shm/channel.h"
#include "shm/slab.h"

namespace airstore::broker {
namespace {

using Clock = std::chrono::steady_clock;

// Of one message, either way.
void SetPatience(int connection, std::chrono::microseconds patience) {
  const timeval time{patience.count() / 1'000'000, patience.count() % 1'000'000};
  setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time));
  setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof(time));
}

// False: the time is over. 0 would be for ever.
bool SetPatienceUntil(int connection, Clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::microseconds>(deadline - Clock::now());
  if (left.count() <= 0) return false;
  SetPatience(connection, left);
  return true;
}

#ifdef SO_PEERPIDFD
constexpr int kPeerPidfd = SO_PEERPIDFD;
#else
constexpr int kPeerPidfd = 77;  // Linux 6.5
#endif

// An address of a socket has room for about a hundred bytes: a short name of the directory.
struct Address {
  UniqueFd directory;
  sockaddr_un where{};
};

Result<Address> AddressOf(const std::string& directory, const std::string& name) {
  Address address;
  address.directory.reset(open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!address.directory) return SysError("open " + directory);
  const std::string path = "/proc/self/fd/" + std::to_string(address.directory.get()) + "/" + name;
  if (path.size() >= sizeof(address.where.sun_path)) return Error{ENAMETOOLONG, name};
  address.where.sun_family = AF_UNIX;
  path.copy(address.where.sun_path, path.size());
  return address;
}

Result<UniqueFd> PidfdOf(int connection, pid_t pid) {
  int raw = -1;
  socklen_t bytes = sizeof(raw);
  if (getsockopt(connection, SOL_SOCKET, kPeerPidfd, &raw, &bytes) == 0) return UniqueFd(raw);
  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) return SysError("pidfd_open");
  fcntl(pidfd.get(), F_SETFD, FD_CLOEXEC);
  return pidfd;
}

Error NoAnswer(Error error) {
  if (error.code == EAGAIN || error.code == EWOULDBLOCK) error.code = ETIMEDOUT;
  return error;
}

// Tables that the frontend made up itself would be shown to other mounts: these must be a broker's.
Result<void> CheckOwner(int fd) {
  struct stat info {};
  if (fstat(fd, &info) != 0) return SysError("stat a frontend's segment");
  if (info.st_uid != geteuid()) return Error{EPERM, "a frontend's segment is not a broker's"};
  return {};
}

Result<void> TakeSegments(shm::Received hello, Clock::time_point deadline, FrontendLink* link) {
  if (hello.fds.size() != 2 || hello.message.id > shm::kMaxSlabs) {
    return Error{EPROTO, "a frontend's greeting is not complete"};
  }
  memcpy(link->session.data(), hello.message.session, link->session.size());
  link->mount_index = hello.message.mount_index;
  for (uint64_t i = 0; i < hello.message.id; ++i) {
    if (!SetPatienceUntil(link->channel.get(), deadline)) {
      return Error{ETIMEDOUT, "a frontend's greeting takes too long"};
    }
    auto slab = shm::ReceiveMessage(link->channel.get());
    if (!slab) return NoAnswer(slab.error());
    if (slab->message.kind != static_cast<uint32_t>(shm::ChannelKind::kSlab) ||
        slab->fds.size() != 1 || slab->message.id >= shm::kMaxSlabs) {
      return Error{EPROTO, "a frontend's greeting is out of order"};
    }
    AIRSTORE_TRY(CheckOwner(slab->fds[0].get()));
    link->slabs.emplace_back(static_cast<uint32_t>(slab->message.id), std::move(slab->fds[0]));
  }
  return {};
}

}  // namespace

std::string FrontendSocketName(uint32_t mount_index) {
  return "mount-" + std::to_string(mount_index) + ".sock";
}

Result<UniqueFd> BindFrontendSocket(const std::string& directory, const std::string& name) {
  auto address = AddressOf(directory, name);
  if (!address) return address.error();
  UniqueFd bound(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!bound) return SysError("socket");
  const auto* where = reinterpret_cast<const sockaddr*>(&address->where);
  if (unlinkat(address->directory.get(), name.c_str(), 0) != 0 && errno != ENOENT) {
    return SysError("replace " + directory + "/" + name);
  }
  if (bind(bound.get(), where, sizeof(address->where)) != 0) {
    return SysError("bind " + directory + "/" + name);
  }
  return bound;
}

Result<FrontendLink> ConnectFrontend(const std::string& directory, const std::string& name,
                                     uint32_t uid, std::chrono::milliseconds patience) {
  const Clock::time_point deadline = Clock::now() + patience;
  auto address = AddressOf(directory, name);
  if (!address) return address.error();
  FrontendLink link;
  link.channel.reset(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!link.channel) return SysError("socket");
  const int connection = link.channel.get();
  // It is listened on, but perhaps by a process that is stopped.
  SetPatience(connection, patience);
  const auto* where = reinterpret_cast<const sockaddr*>(&address->where);
  if (connect(connection, where, sizeof(address->where)) != 0) {
    return NoAnswer(SysError("connect to " + directory + "/" + name));
  }
  ucred peer{};
  socklen_t bytes = sizeof(peer);
  if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) != 0) {
    return SysError("ask who listens on " + name);
  }
  if (peer.uid != uid) {
    return Error{EPERM, "uid " + std::to_string(peer.uid) + " listens on " + directory + "/" +
                            name + " and not uid " + std::to_string(uid)};
  }
  auto pidfd = PidfdOf(connection, peer.pid);
  if (!pidfd) return pidfd.error();
  // One that somebody has stopped would be taken for one that does not live.
  (void)syscall(SYS_pidfd_send_signal, pidfd->get(), SIGCONT, nullptr, 0);
  auto hello = shm::ReceiveHello(connection);
  if (!hello) return NoAnswer(hello.error());
  link.pid = peer.pid;
  link.pidfd = std::move(*pidfd);
  link.abi_major = hello->message.abi_major;
  link.device = std::move(hello->fds[0]);
  if (hello->fds.size() > 1) link.meta = std::move(hello->fds[1]);
  if (link.meta) AIRSTORE_TRY(CheckOwner(link.meta.get()));
  if (link.abi_major == shm::AbiMajor()) {
    link.abi_minor = hello->message.abi_minor;
    AIRSTORE_TRY(TakeSegments(std::move(*hello), deadline, &link));
  }
  SetPatience(connection, kGreetingPatience);
  return link;
}

std::string VersionProblem(const FrontendLink& link) {
  if (link.abi_major == shm::AbiMajor() && link.abi_minor == shm::kAbiMinor) return {};
  const std::string theirs =
      std::to_string(link.abi_major) +
      (link.abi_major == shm::AbiMajor() ? "." + std::to_string(link.abi_minor) : "");
  return "the frontend speaks shared-memory ABI " + theirs + ", this broker (airstore " +
         AIRSTORE_VERSION + ") " + shm::OwnAbi();
}

Result<void> Reattach(const FrontendLink& link, int meta_read_only, int wake_eventfd) {
  shm::ChannelMessage message{};
  message.kind = static_cast<uint32_t>(shm::ChannelKind::kReattach);
  AIRSTORE_TRY(shm::SendMessage(link.channel.get(), message, {meta_read_only, wake_eventfd}));
  auto answer = shm::ReceiveMessage(link.channel.get());
  if (!answer) return NoAnswer(answer.error());
  if (answer->message.kind == static_cast<uint32_t>(shm::ChannelKind::kReady)) return {};
  return Error{EPROTO, "the frontend refuses: " +
                           std::string(answer->message.text, answer->message.text_bytes)};
}

}  // namespace airstore::broker
