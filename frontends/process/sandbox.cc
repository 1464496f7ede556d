// SPDX-License-Identifier: Apache-2.0
#include "frontends/process/sandbox.h"

#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <memory>

#include "shm/base/file_clock.h"

namespace airstore {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;  // the sanitizers' run time needs many more calls
#else
constexpr bool kSanitized = false;
#endif

// Device, content files, channel, the next broker's connection; memory; threads; time. Segments
// that arrive later are mapped by descriptor: nothing is opened by name.
constexpr int kAllowed[] = {
    SCMP_SYS(read),
    SCMP_SYS(readv),
    SCMP_SYS(write),
    SCMP_SYS(writev),
    SCMP_SYS(pread64),
    SCMP_SYS(lseek),
    SCMP_SYS(recvmsg),
    SCMP_SYS(sendmsg),
    SCMP_SYS(close),
    SCMP_SYS(dup),
    SCMP_SYS(dup3),
    SCMP_SYS(accept4),
    SCMP_SYS(fcntl),
    SCMP_SYS(fstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(mmap),
    SCMP_SYS(munmap),
    SCMP_SYS(mprotect),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(brk),
    SCMP_SYS(futex),
    SCMP_SYS(clone),
    SCMP_SYS(clone3),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(rseq),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(gettid),
    SCMP_SYS(getpid),
    SCMP_SYS(tgkill),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),
    SCMP_SYS(getrandom),
    SCMP_SYS(restart_syscall),
};

// What only an intruder would call from here.
constexpr int kDeadly[] = {
    SCMP_SYS(execve),         SCMP_SYS(execveat),          SCMP_SYS(ptrace),
    SCMP_SYS(socket),         SCMP_SYS(connect),           SCMP_SYS(process_vm_readv),
    SCMP_SYS(mount),          SCMP_SYS(process_vm_writev), SCMP_SYS(bpf),
    SCMP_SYS(setuid),         SCMP_SYS(pidfd_getfd),       SCMP_SYS(init_module),
    SCMP_SYS(setns),          SCMP_SYS(unshare),           SCMP_SYS(kexec_load),
    SCMP_SYS(io_uring_setup),
};

struct Release {
  void operator()(void* filter) const { seccomp_release(filter); }
};

}  // namespace

Result<void> DropPrivileges() {
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return SysError("no_new_privs");
  const rlimit none{0, 0};
  if (setrlimit(RLIMIT_CORE, &none) != 0) return SysError("RLIMIT_CORE");
  return {};
}

// Any other call fails with ENOSYS and does not kill: it is just as harmless, and a C library that
// is newer than this list tries a call it likes and falls back, instead of taking a mount down and
// its replacement after it. ENOSYS and not EPERM, because that is the answer it falls back on.
Result<void> RestrictSystemCalls(std::span<const int> more) {
  if (kSanitized) return {};
  const std::unique_ptr<void, Release> filter(seccomp_init(SCMP_ACT_ERRNO(ENOSYS)));
  if (filter == nullptr) return Error{ENOMEM, "seccomp_init"};
  int failed = 0;
  for (const int call : kAllowed) {
    if (failed == 0) failed = seccomp_rule_add(filter.get(), SCMP_ACT_ALLOW, call, 0);
  }
  for (const int call : more) {
    if (failed == 0) failed = seccomp_rule_add(filter.get(), SCMP_ACT_ALLOW, call, 0);
  }
  for (const int call : kDeadly) {
    if (failed == 0) failed = seccomp_rule_add(filter.get(), SCMP_ACT_KILL_PROCESS, call, 0);
  }
  // Names of threads only.
  if (failed == 0) {
    failed = seccomp_rule_add(filter.get(), SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1,
                              SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME));
  }
  // Who has connected.
  if (failed == 0) {
    failed = seccomp_rule_add(filter.get(), SCMP_ACT_ALLOW, SCMP_SYS(getsockopt), 2,
                              SCMP_A1(SCMP_CMP_EQ, SOL_SOCKET), SCMP_A2(SCMP_CMP_EQ, SO_PEERCRED));
  }
  // Of a descriptor: reading the clock of files, whose descriptor must be there by now.
  (void)shm::FileClockNs();
  if (failed == 0) {
    failed = seccomp_rule_add(filter.get(), SCMP_ACT_ALLOW, SCMP_SYS(utimensat), 1,
                              SCMP_A1(SCMP_CMP_EQ, 0));
  }
  if (failed == 0) failed = seccomp_load(filter.get());
  if (failed != 0) return Error{-failed, "seccomp"};
  return {};
}

}  // namespace airstore
