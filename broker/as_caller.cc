// SPDX-License-Identifier: Apache-2.0
//
// As in the launcher, the child makes system calls only, and those of libc that change users would
// signal threads that it does not have.
#include "broker/as_caller.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <climits>
#include <cstdio>
#include <cstring>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "shm/base/descriptor_message.h"

namespace airstore::broker {
namespace {

using Descriptor = boost::asio::posix::stream_descriptor;

constexpr std::chrono::seconds kPatience{3};
constexpr size_t kMostStuck = 8;  // of a user

enum class What { kDirectory, kWrite };

struct Answer {
  int32_t code = 0;
  uint32_t owner = 0;
  char path[PATH_MAX] = {};
};

struct Plan {
  What what = What::kDirectory;
  const char* path = nullptr;
  int channel = -1;
  bool change_user = false;
  uint32_t uid = 0;
  uint32_t gid = 0;
  const uint32_t* groups = nullptr;
  size_t group_count = 0;
};

void Send(int channel, const Answer& answer, int fd) {
  (void)SendWithDescriptors(channel, &answer, sizeof answer, std::span(&fd, fd >= 0 ? 1 : 0));
}

// 0, or an errno.
int OpenDirectory(const char* path, Answer* answer, int* fd) {
  *fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  struct stat info {};
  if (*fd < 0 || fstat(*fd, &info) != 0) return errno;
  answer->owner = info.st_uid;
  if (info.st_nlink == 0) return ENOENT;
  char link[32];
  snprintf(link, sizeof link, "/proc/self/fd/%d", *fd);
  const ssize_t length = readlink(link, answer->path, sizeof answer->path - 1);
  return length < 0 ? errno : answer->path[0] == '/' ? 0 : ENOENT;
}

[[noreturn]] void Child(const Plan& plan) {
  Answer answer;
  int fd = -1;
  // It may outlive the broker, whose locks and sockets it must not hold.
  if (dup2(plan.channel, 0) < 0) _exit(1);
  syscall(SYS_close_range, 1, ~0u, 0);
  (void)!chdir("/");
  if (plan.change_user && (syscall(SYS_setgroups, plan.group_count, plan.groups) != 0 ||
                           syscall(SYS_setresgid, plan.gid, plan.gid, plan.gid) != 0 ||
                           syscall(SYS_setresuid, plan.uid, plan.uid, plan.uid) != 0)) {
    answer.code = errno;
  }
  // The memory is the broker's.
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) _exit(1);
  if (answer.code == 0) {
    answer.code = plan.what == What::kWrite ? (access(plan.path, W_OK) == 0 ? 0 : errno)
                                            : OpenDirectory(plan.path, &answer, &fd);
  }
  Send(0, answer, answer.code == 0 ? fd : -1);
  _exit(0);
}

Result<std::pair<Answer, UniqueFd>> Receive(int channel) {
  Answer answer;
  std::vector<UniqueFd> fds;
  const ssize_t got = ReceiveWithDescriptors(channel, &answer, sizeof answer, &fds, MSG_DONTWAIT);
  if (got != static_cast<ssize_t>(sizeof answer)) return Error{EIO, "it ended early"};
  return std::pair(answer, fds.size() == 1 ? std::move(fds[0]) : UniqueFd());
}

// By user, of those that got no answer and have not ended.
std::map<uint32_t, size_t>& Stuck() {
  static std::map<uint32_t, size_t> stuck;
  return stuck;
}

// What is stuck in a file system ends when that answers.
Task<void> Reap(std::shared_ptr<Descriptor> process, uint32_t uid, bool late) {
  if (late) ++Stuck()[uid];
  boost::system::error_code ignored;
  co_await process->async_wait(Descriptor::wait_read,
                               boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
  siginfo_t info{};
  (void)waitid(P_PIDFD, static_cast<id_t>(process->native_handle()), &info, WEXITED | WNOHANG);
  if (late && --Stuck()[uid] == 0) Stuck().erase(uid);
}

Task<Result<std::pair<Answer, UniqueFd>>> Look(Caller caller, std::string path, What what) {
  const auto loop = co_await boost::asio::this_coro::executor;
  if (const auto stuck = Stuck().find(caller.uid);
      stuck != Stuck().end() && stuck->second >= kMostStuck) {
    co_return Error{EBUSY, path + " is not looked at: others that you named do not answer"};
  }
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0) {
    co_return SysError("socketpair");
  }
  const auto ours = std::make_shared<Descriptor>(loop, sockets[0]);
  UniqueFd theirs(sockets[1]);
  Plan plan;
  plan.what = what;
  plan.path = path.c_str();
  plan.channel = theirs.get();
  plan.change_user = geteuid() == 0 && caller.uid != 0;
  plan.uid = caller.uid;
  plan.gid = caller.gid;
  plan.groups = caller.groups.data();
  plan.group_count = caller.groups.size();
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = _Fork();
  if (pid == 0) Child(plan);
  const int failed = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) co_return SysError("fork", failed);
  theirs.reset();
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (pidfd < 0) {
    const int code = errno;
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    co_return SysError("pidfd_open", code);
  }
  const auto process = std::make_shared<Descriptor>(loop, pidfd);
  boost::asio::steady_timer patience(loop, kPatience);
  patience.async_wait([ours](const boost::system::error_code& cancelled) {
    if (!cancelled) ours->cancel();
  });
  boost::system::error_code late;
  co_await ours->async_wait(Descriptor::wait_read,
                            boost::asio::redirect_error(boost::asio::use_awaitable, late));
  patience.cancel();
  auto answer = late ? Result<std::pair<Answer, UniqueFd>>(Error{ETIMEDOUT, path})
                     : Receive(ours->native_handle());
  (void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, nullptr, 0);
  Spawn(loop, Reap(process, caller.uid, static_cast<bool>(late)));
  if (answer && answer->first.code != 0) answer = SysError(path, answer->first.code);
  co_return std::move(answer);
}

}  // namespace

Task<Result<FoundDirectory>> OpenDirectoryAs(Caller caller, std::string path) {
  auto answer = co_await Look(std::move(caller), path, What::kDirectory);
  if (!answer) co_return answer.error();
  auto& [found, fd] = *answer;
  if (!fd) co_return Error{EIO, path};
  co_return FoundDirectory{std::make_shared<const UniqueFd>(std::move(fd)), found.path,
                           found.owner};
}

Task<Result<void>> MayWriteAs(Caller caller, std::string path) {
  auto answer = co_await Look(std::move(caller), std::move(path), What::kWrite);
  if (!answer) co_return answer.error();
  co_return Result<void>{};
}

std::string PathOfDescriptor(int fd) {
  char path[PATH_MAX];
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t length = readlink(link.c_str(), path, sizeof path);
  return length <= 0 ? "" : std::string(path, static_cast<size_t>(length));
}

}  // namespace airstore::broker
