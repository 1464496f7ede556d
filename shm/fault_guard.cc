// SPDX-License-Identifier: Apache-2.0
#include "shm/fault_guard.h"

#include <sys/mman.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <mutex>
#include <utility>

namespace airstore::shm {
namespace {

// Two of each mount of a host; the handler looks through them, so there is a limit.
constexpr int kMaxGuards = 4096;

struct Guarded {
  std::atomic<bool> taken{false};
  std::atomic<uintptr_t> begin{0};  // 0: not to be looked at
  std::atomic<uintptr_t> end{0};
  std::atomic<bool> lost{false};
};

// A signal handler has no other way to find its data.
Guarded guards[kMaxGuards];
struct sigaction previous_action;

bool Replace(uintptr_t fault) {
  for (Guarded& guarded : guards) {
    const uintptr_t begin = guarded.begin.load(std::memory_order_acquire);
    const uintptr_t end = guarded.end.load(std::memory_order_acquire);
    if (begin == 0 || fault < begin || fault >= end) continue;
    // The whole range: half a file and half zeros would be a third thing to reason about.
    void* memory = mmap(reinterpret_cast<void*>(begin), end - begin, PROT_READ | PROT_WRITE,
                        MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return false;
    guarded.lost.store(true, std::memory_order_release);
    return true;
  }
  return false;
}

void OnBusError(int signal, siginfo_t* info, void* context) {
  const int saved = errno;
  const bool replaced = Replace(reinterpret_cast<uintptr_t>(info->si_addr));
  errno = saved;
  if (replaced) return;
  if ((previous_action.sa_flags & SA_SIGINFO) != 0) {
    previous_action.sa_sigaction(signal, info, context);
  } else if (previous_action.sa_handler != SIG_DFL && previous_action.sa_handler != SIG_IGN) {
    previous_action.sa_handler(signal);
  } else {
    // Faults again on return, and then ends the process as it would have.
    ::signal(SIGBUS, SIG_DFL);
  }
}

void Install() {
  struct sigaction action {};
  action.sa_sigaction = OnBusError;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  AIRSTORE_CHECK(sigaction(SIGBUS, &action, &previous_action) == 0);
}

}  // namespace

Result<FaultGuard> FaultGuard::Watch(void* address, size_t bytes) {
  static std::once_flag installed;
  std::call_once(installed, Install);
  for (int i = 0; i < kMaxGuards; ++i) {
    if (guards[i].taken.exchange(true, std::memory_order_acq_rel)) continue;
    const auto begin = reinterpret_cast<uintptr_t>(address);
    guards[i].lost.store(false, std::memory_order_relaxed);
    guards[i].end.store(begin + bytes, std::memory_order_release);
    guards[i].begin.store(begin, std::memory_order_release);
    return FaultGuard(i);
  }
  return Error{ENOSPC, "guarded ranges"};
}

FaultGuard::FaultGuard(FaultGuard&& other) noexcept : entry_(std::exchange(other.entry_, -1)) {}

FaultGuard& FaultGuard::operator=(FaultGuard&& other) noexcept {
  std::swap(entry_, other.entry_);
  return *this;
}

FaultGuard::~FaultGuard() {
  if (entry_ < 0) return;
  guards[entry_].begin.store(0, std::memory_order_release);
  guards[entry_].taken.store(false, std::memory_order_release);
}

bool FaultGuard::lost() const {
  return entry_ >= 0 && guards[entry_].lost.load(std::memory_order_acquire);
}

}  // namespace airstore::shm
