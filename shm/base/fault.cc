// SPDX-License-Identifier: Apache-2.0
#include "shm/base/fault.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "shm/base/fd.h"

namespace airstore {
namespace {

FaultBoard* Attach() {
  const char* path = getenv("AIRSTORE_FAULT");
  if (path == nullptr || *path == '\0') return nullptr;
  const UniqueFd file(open(path, O_RDWR | O_CLOEXEC));
  void* memory =
      file ? mmap(nullptr, sizeof(FaultBoard), PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0)
           : MAP_FAILED;
  if (memory != MAP_FAILED) {
    auto* board = static_cast<FaultBoard*>(memory);
    if (board->magic == FaultBoard::kMagic && board->points == kFaultPoints) return board;
  }
  fprintf(stderr, "AIRSTORE_FAULT=%s is no board of this build\n", path);
  _exit(EXIT_FAILURE);
}

// What a frontend's sandbox permits.
void Signal(int number) {
  syscall(SYS_tgkill, getpid(), static_cast<pid_t>(syscall(SYS_gettid)), number);
}

void Sleep(uint32_t ms) {
  timespec left{static_cast<time_t>(ms / 1000), static_cast<long>(ms % 1000) * 1'000'000};
  while (nanosleep(&left, &left) != 0) {
  }
}

}  // namespace

constinit FaultBoard* fault_board = nullptr;

namespace {
// Before main: a frontend gives up opening files soon after.
[[maybe_unused]] const bool attached = (fault_board = Attach()) != nullptr;
}  // namespace

int ReachSlow(FaultPoint point) {
  FaultSlot& slot = fault_board->slots[static_cast<uint32_t>(point)];
  slot.reached.fetch_add(1, std::memory_order_relaxed);
  if (slot.times.load(std::memory_order_acquire) <= 0) return 0;
  if (slot.skip.fetch_sub(1, std::memory_order_relaxed) > 0) return 0;
  if (slot.times.fetch_sub(1, std::memory_order_relaxed) <= 0) return 0;
  slot.fired_in.store(getpid(), std::memory_order_relaxed);
  slot.fired.fetch_add(1, std::memory_order_release);
  const uint32_t argument = slot.argument.load(std::memory_order_relaxed);
  switch (slot.action.load(std::memory_order_relaxed)) {
    case FaultAction::kKill:
      if (argument != 0) Sleep(argument);
      Signal(SIGKILL);
      break;
    case FaultAction::kStop:
      Signal(SIGSTOP);
      break;
    case FaultAction::kDelay:
      Sleep(argument);
      break;
    case FaultAction::kError:
      return static_cast<int>(argument);
  }
  return 0;
}

}  // namespace airstore
