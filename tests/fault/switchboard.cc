// SPDX-License-Identifier: Apache-2.0
#include "tests/fault/switchboard.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "shm/base/fd.h"

namespace airstore::fault {

Switchboard::Switchboard() {
  std::string name = "/tmp/airstore-board-XXXXXX";
  const UniqueFd file(mkostemp(name.data(), O_CLOEXEC));
  void* memory = MAP_FAILED;
  if (file && ftruncate(file.get(), sizeof(FaultBoard)) == 0) {
    memory = mmap(nullptr, sizeof(FaultBoard), PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  }
  if (memory == MAP_FAILED) throw std::runtime_error("make " + name + ": " + strerror(errno));
  path_ = name;
  board_ = static_cast<FaultBoard*>(memory);
  board_->magic = FaultBoard::kMagic;
  board_->points = kFaultPoints;
}

Switchboard::~Switchboard() {
  munmap(board_, sizeof(FaultBoard));
  unlink(path_.c_str());
}

void Switchboard::Arm(FaultPoint point, FaultAction action, uint32_t argument, int64_t skip,
                      int64_t times) {
  FaultSlot& slot = Slot(point);
  slot.times = 0;
  slot.action = action;
  slot.argument = argument;
  slot.skip = skip;
  slot.times.store(times, std::memory_order_release);
}

void Switchboard::Disarm(FaultPoint point) { Slot(point).times = 0; }

}  // namespace airstore::fault
