// SPDX-License-Identifier: Apache-2.0
#include "tests/e2e/support/locker.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace airstore::e2e {
namespace {

constexpr int kInterrupt = SIGUSR1;
enum class Do { kOpen, kClose, kLock, kTest, kFork };

}  // namespace

struct Locker::Command {
  Do what = Do::kOpen;
  int fd = -1;
  int flags = 0;
  Kind kind = Kind::kProcess;
  Range range;
  bool wait = false;
  char path[512] = {};
};

struct Locker::Answer {
  int value = 0;  // -1: failed
  int error = 0;
  Range range;
  pid_t pid = 0;
};

Locker::Locker() {
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0) {
    throw std::runtime_error("socketpair");
  }
  socket_ = UniqueFd(sockets[0]);
  UniqueFd theirs(sockets[1]);
  pid_ = fork();
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(sockets[0]);
    Run(sockets[1]);
  }
  if (pid_ < 0) throw std::runtime_error("fork");
}

Locker::Locker(Locker&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), socket_(std::move(other.socket_)) {}

Locker::~Locker() { Kill(); }

void Locker::Kill() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

// Nothing but system calls: it is the child of a process with threads.
void Locker::Run(int socket) {
  struct sigaction action {};
  action.sa_handler = [](int) {};  // without SA_RESTART: ends a wait
  sigaction(kInterrupt, &action, nullptr);
  Command command;
  while (read(socket, &command, sizeof(command)) == ssize_t{sizeof(command)}) {
    Answer answer;
    struct flock lock {};
    lock.l_type = static_cast<short>(command.range.type);
    lock.l_whence = SEEK_SET;
    lock.l_start = command.range.start;
    lock.l_len = command.range.length;
    const bool ofd = command.kind == Kind::kOpenFile;
    switch (command.what) {
      case Do::kOpen:
        answer.value = open(command.path, command.flags | O_CLOEXEC, 0644);
        break;
      case Do::kClose:
        answer.value = close(command.fd);
        break;
      case Do::kLock:
        if (command.kind == Kind::kFlock) {
          const int type = command.range.type == F_RDLCK   ? LOCK_SH
                           : command.range.type == F_WRLCK ? LOCK_EX
                                                           : LOCK_UN;
          answer.value = flock(command.fd, type | (command.wait ? 0 : LOCK_NB));
        } else {
          const int how =
              command.wait ? (ofd ? F_OFD_SETLKW : F_SETLKW) : (ofd ? F_OFD_SETLK : F_SETLK);
          answer.value = fcntl(command.fd, how, &lock);
        }
        break;
      case Do::kTest:
        answer.value = fcntl(command.fd, ofd ? F_OFD_GETLK : F_GETLK, &lock);
        answer.range = {lock.l_type, lock.l_start, lock.l_len};
        answer.pid = lock.l_pid;
        break;
      case Do::kFork:
        answer.value = fork();
        if (answer.value == 0) {
          prctl(PR_SET_PDEATHSIG, 0);
          alarm(60);  // should the test forget it
          close(socket);
          for (;;) pause();
        }
        break;
    }
    answer.error = answer.value < 0 ? errno : 0;
    if (write(socket, &answer, sizeof(answer)) < 0) break;
  }
  _exit(0);
}

void Locker::Send(const Command& command) {
  if (write(socket_.get(), &command, sizeof(command)) != ssize_t{sizeof(command)}) {
    throw std::runtime_error("the locker has ended");
  }
}

std::optional<Locker::Answer> Locker::Receive(std::chrono::milliseconds patience) {
  pollfd ready{socket_.get(), POLLIN, 0};
  if (poll(&ready, 1, static_cast<int>(patience.count())) <= 0) return std::nullopt;
  Answer answer;
  if (read(socket_.get(), &answer, sizeof(answer)) != ssize_t{sizeof(answer)}) {
    throw std::runtime_error("the locker has ended");
  }
  return answer;
}

Locker::Answer Locker::Call(const Command& command) {
  Send(command);
  const auto answer = Receive(std::chrono::seconds(60));
  if (!answer) throw std::runtime_error("the locker does not answer");
  return *answer;
}

int Locker::Open(const std::string& path, int flags) {
  Command command;
  command.what = Do::kOpen;
  command.flags = flags;
  strncpy(command.path, path.c_str(), sizeof(command.path) - 1);
  const Answer answer = Call(command);
  if (answer.value < 0) throw std::runtime_error("open " + path + ": " + strerror(answer.error));
  return answer.value;
}

int Locker::Close(int fd) {
  Command command;
  command.what = Do::kClose;
  command.fd = fd;
  return Call(command).error;
}

int Locker::TryLock(int fd, Kind kind, const Range& range) {
  Command command;
  command.what = Do::kLock;
  command.fd = fd;
  command.kind = kind;
  command.range = range;
  return Call(command).error;
}

std::optional<Locker::Range> Locker::Test(int fd, Kind kind, const Range& range, pid_t* pid) {
  Command command;
  command.what = Do::kTest;
  command.fd = fd;
  command.kind = kind;
  command.range = range;
  const Answer answer = Call(command);
  if (answer.value < 0) throw std::runtime_error(strerror(answer.error));
  if (pid != nullptr) *pid = answer.pid;
  if (answer.range.type == F_UNLCK) return std::nullopt;
  return answer.range;
}

void Locker::StartLock(int fd, Kind kind, const Range& range) {
  Command command;
  command.what = Do::kLock;
  command.fd = fd;
  command.kind = kind;
  command.range = range;
  command.wait = true;
  Send(command);
}

std::optional<int> Locker::Result(std::chrono::milliseconds patience) {
  const auto answer = Receive(patience);
  if (!answer) return std::nullopt;
  return answer->error;
}

pid_t Locker::Fork() {
  Command command;
  command.what = Do::kFork;
  return Call(command).value;
}

void Locker::Interrupt() const { kill(pid_, kInterrupt); }

}  // namespace airstore::e2e
