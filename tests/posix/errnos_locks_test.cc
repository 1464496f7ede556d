// SPDX-License-Identifier: Apache-2.0
//
// The errors of locks, leases, and of what else fcntl does.
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <limits>

#include "tests/posix/errnos.h"

namespace airstore::posix {
namespace {

struct flock Range(short type, off_t start = 0, off_t length = 1) {
  struct flock range {};
  range.l_type = type;
  range.l_start = start;
  range.l_len = length;
  return range;
}

int Lock(int fd, int command, struct flock range) { return fcntl(fd, command, &range); }

// Another process, which runs `first`, lets us go on, and runs `then` until it is killed.
class Beside {
 public:
  template <typename First, typename Then>
  Beside(First first, Then then) {
    int ready[2];
    if (pipe2(ready, O_CLOEXEC) != 0) abort();
    pid_ = fork();
    if (pid_ == 0) {
      first();
      if (write(ready[1], "r", 1) != 1) _exit(1);
      then();
      for (;;) pause();
    }
    close(ready[1]);
    char byte = 0;
    if (read(ready[0], &byte, 1) != 1) abort();
    close(ready[0]);
  }
  ~Beside() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  Beside(const Beside&) = delete;
  Beside& operator=(const Beside&) = delete;

 private:
  pid_t pid_ = -1;
};

// A signal that comes soon, and again, so that it finds us waiting.
class Alarms {
 public:
  Alarms() {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    sigaction(SIGALRM, &action, nullptr);
    const itimerval often{{0, 20'000}, {0, 20'000}};
    setitimer(ITIMER_REAL, &often, nullptr);
  }
  ~Alarms() {
    const itimerval never{};
    setitimer(ITIMER_REAL, &never, nullptr);
    signal(SIGALRM, SIG_DFL);
  }
  Alarms(const Alarms&) = delete;
  Alarms& operator=(const Alarms&) = delete;
};

void Nothing() {}
int Opened(const char* path) { return open(path, O_RDWR | O_CLOEXEC); }

TEST_F(Errnos, OfLocks) {
  Both("flock", EBADF, "of nothing", MakeUsual, [] { return flock(kNoDescriptor, LOCK_EX); });
  Both("flock", EBADF, "of a path", MakeUsual,
       OnOpen("file", O_PATH, [](int fd) { return flock(fd, LOCK_EX); }));
  Both("flock", EINVAL, "no kind", MakeUsual,
       OnOpen("file", O_RDWR, [](int fd) { return flock(fd, 64); }));
  for (const int held : {LOCK_EX, LOCK_SH}) {
    Both("flock", EWOULDBLOCK, "held elsewhere: " + std::to_string(held), MakeUsual,
         OnOpen("file", O_RDWR, [held](int fd) {
           const UniqueFd other(Opened("file"));
           if (flock(other.get(), held) != 0) return 0;
           return flock(fd, LOCK_EX | LOCK_NB);
         }));
  }
  Both("flock", EINTR, "interrupted", MakeUsual, OnOpen("file", O_RDWR, [](int fd) {
         const UniqueFd other(Opened("file"));
         if (flock(other.get(), LOCK_EX) != 0) return 0;
         const Alarms alarms;
         return flock(fd, LOCK_EX);
       }));
  Documented("flock", {EBADF, EINTR, EINVAL, ENOLCK, EWOULDBLOCK},
             {{ENOLCK, "TwoHostsLocks.LocksOfAHostThatWasAwayAreLostAndItIsTold"}});

  Both("fcntl", EBADF, "of nothing", MakeUsual,
       [] { return Lock(kNoDescriptor, F_SETLK, Range(F_WRLCK)); });
  Both("fcntl", EBADF, "of a path", MakeUsual,
       OnOpen("file", O_PATH, [](int fd) { return Lock(fd, F_SETLK, Range(F_RDLCK)); }));
  for (const int command : {F_SETLK, F_OFD_SETLK}) {
    const std::string kind = command == F_SETLK ? "" : ", of the open file";
    Both("fcntl", EBADF, "to write, opened to read" + kind, MakeUsual,
         OnOpen("file", O_RDONLY, [=](int fd) { return Lock(fd, command, Range(F_WRLCK)); }));
    Both("fcntl", EBADF, "to read, opened to write" + kind, MakeUsual,
         OnOpen("file", O_WRONLY, [=](int fd) { return Lock(fd, command, Range(F_RDLCK)); }));
    Both("fcntl", EINVAL, "no kind" + kind, MakeUsual,
         OnOpen("file", O_RDWR, [=](int fd) { return Lock(fd, command, Range(99)); }));
    Both("fcntl", EINVAL, "before the beginning" + kind, MakeUsual,
         OnOpen("file", O_RDWR, [=](int fd) { return Lock(fd, command, Range(F_WRLCK, -1)); }));
    Both("fcntl", EINVAL, "back over the beginning" + kind, MakeUsual,
         OnOpen("file", O_RDWR, [=](int fd) { return Lock(fd, command, Range(F_WRLCK, 2, -5)); }));
    Both("fcntl", EOVERFLOW, "beyond what can be" + kind, MakeUsual,
         OnOpen("file", O_RDWR, [=](int fd) {
           return Lock(fd, command, Range(F_WRLCK, std::numeric_limits<off_t>::max(), 10));
         }));
    Both("fcntl", EFAULT, "nowhere" + kind, MakeUsual,
         OnOpen("file", O_RDWR, [=](int fd) { return fcntl(fd, command, Nowhere()); }));
    Both("fcntl", EAGAIN, "held elsewhere" + kind, MakeUsual, OnOpen("file", O_RDWR, [=](int fd) {
           const UniqueFd other(Opened("file"));
           if (Lock(other.get(), F_OFD_SETLK, Range(F_WRLCK)) != 0) return 0;
           return Lock(fd, command, Range(F_RDLCK));
         }));
    Both("fcntl", EINTR, "interrupted" + kind, MakeUsual, OnOpen("file", O_RDWR, [=](int fd) {
           const UniqueFd other(Opened("file"));
           if (Lock(other.get(), F_OFD_SETLK, Range(F_WRLCK)) != 0) return 0;
           const Alarms alarms;
           return Lock(fd, command == F_SETLK ? F_SETLKW : F_OFD_SETLKW, Range(F_RDLCK));
         }));
  }
  Both("fcntl", EAGAIN, "held by a process", MakeUsual, OnOpen("file", O_RDWR, [](int fd) {
         const Beside other([fd] { Lock(fd, F_SETLK, Range(F_WRLCK)); }, Nothing);
         return Lock(fd, F_SETLK, Range(F_WRLCK));
       }));
  Both("fcntl", EINVAL, "a process for the open file's", MakeUsual,
       OnOpen("file", O_RDWR, [](int fd) {
         struct flock range = Range(F_WRLCK);
         range.l_pid = 1;
         return fcntl(fd, F_OFD_SETLK, &range);
       }));
  Both("fcntl", EDEADLK, "each waits for the other", MakeUsual, OnOpen("file", O_RDWR, [](int fd) {
         if (Lock(fd, F_SETLK, Range(F_WRLCK, 0)) != 0) return 0;
         const Beside other([fd] { Lock(fd, F_SETLK, Range(F_WRLCK, 1)); },
                            [fd] { Lock(fd, F_SETLKW, Range(F_WRLCK, 0)); });
         usleep(50'000);  // it waits by then
         return Lock(fd, F_SETLKW, Range(F_WRLCK, 1));
       }));
  Both("fcntl", EINVAL, "no command", MakeUsual,
       OnOpen("file", O_RDWR, [](int fd) { return fcntl(fd, 9999, 0); }));
  Both("fcntl", EINVAL, "no number to copy to", MakeUsual,
       OnOpen("file", O_RDWR, [](int fd) { return fcntl(fd, F_DUPFD, -1); }));
  Both("fcntl", ENOTDIR, "to be told of a file", MakeUsual,
       OnOpen("file", O_RDONLY, [](int fd) { return fcntl(fd, F_NOTIFY, DN_MODIFY); }));
  Both("fcntl", EINVAL, "no lease", MakeUsual,
       OnOpen("file", O_RDWR, [](int fd) { return fcntl(fd, F_SETLEASE, 99); }));
  Both("fcntl", EAGAIN, "a lease of what is open to write", MakeUsual,
       OnOpen("file", O_RDWR, [](int fd) { return fcntl(fd, F_SETLEASE, F_RDLCK); }));
  For(Other(), "fcntl", EACCES, "a lease of another's", MakeUsual,
      OnOpen("file", O_RDONLY, [](int fd) { return fcntl(fd, F_SETLEASE, F_RDLCK); }));
  For(Other(), "fcntl", EPERM, "no marks, another's", MakeUsual,
      OnOpen("file", O_RDONLY, [](int fd) { return fcntl(fd, F_SETFL, O_NOATIME); }));
  Both("fcntl", EBADF, "a pipe's size of a file", MakeUsual,
       OnOpen("file", O_RDWR, [](int fd) { return fcntl(fd, F_SETPIPE_SZ, 4096); }));
  Documented("fcntl",
             {EACCES, EAGAIN, EBADF, EBUSY, EDEADLK, EFAULT, EINTR, EINVAL, EMFILE, ENOLCK, ENOTDIR,
              EPERM},
             {{EBUSY, "of pipes"},
              {EMFILE, "open"},
              {ENOLCK, "TwoHostsLocks.LocksOfAHostThatWasAwayAreLostAndItIsTold"}});
  RunTable();
}

}  // namespace
}  // namespace airstore::posix
