// SPDX-License-Identifier: Apache-2.0
//
// SpoolBudget: the disk space that changes may take which no gateway has yet, of all sessions of
// the broker together, and what happens when it runs out: writers are slowed down, the more the
// less is left; then they wait; and when there has been no room for `stall`, they get ENOSPC. What
// was accepted stays. A spool whose file system runs full is treated the same.
//
// Who owns something in the spool has a Share and says how much it is. Writes that the kernel does
// by itself (passthrough) are not seen when they happen: their owner looks at the files, the more
// often the less room there is (`look_every`), and seals those that
// grow from `sealing` on.
//
// Threads: the event loop.
// Sleeps while there is room.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "broker/task.h"
#include "shm/base/result.h"

namespace airstore::broker {

class SpoolBudget {
 public:
  struct Limits {
    uint64_t bytes = UINT64_MAX;
    std::chrono::milliseconds stall{30'000};
  };
  // How writers are to behave: see shm::LaneCursors.
  struct Gate {
    uint32_t wait_us_per_mib = 0;  // shm::kWriteGateClosed: closed
    int64_t closed_ns = 0;         // monotonic
    uint32_t stall_ms = 0;
    bool closed() const;
  };
  // Called when that changes.
  using OnGate = std::function<void(const Gate& gate)>;

  // `directory`: where content files are, whose file system is watched too. `reserve_file`: on the
  // same; one that is there is removed.
  SpoolBudget(boost::asio::any_io_executor executor, std::string directory,
              std::string reserve_file, const Limits& limits);
  SpoolBudget(const SpoolBudget&) = delete;
  SpoolBudget& operator=(const SpoolBudget&) = delete;

  void SetOnGate(OnGate on_gate) { on_gate_ = std::move(on_gate); }
  // Called when the disk is nearly full: gives up what is only cached, so many bytes if it can.
  using OnLow = std::function<void(uint64_t bytes)>;
  void SetOnLow(OnLow on_low) { on_low_ = std::move(on_low); }

  // One owner's part of what is used. Must not outlive the budget.
  class Share {
   public:
    explicit Share(SpoolBudget* budget) : budget_(budget) {}
    ~Share() {
      Set(0);
      Reserve(0);
    }
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;
    void Set(uint64_t bytes);
    uint64_t bytes() const { return bytes_; }
    // For accepted writes of so many bytes something is kept in reserve.
    void Reserve(uint64_t bytes);

   private:
    SpoolBudget* budget_;
    uint64_t bytes_ = 0;
    uint64_t reserved_ = 0;
  };

  uint64_t limit() const { return limits_.bytes; }
  uint64_t used() const { return used_ + reserve_; }
  const Gate& gate() const { return gate_; }
  // Before something is done that takes room. Waits while there is none, at most so long; ENOSPC.
  Task<Result<void>> Admit(std::chrono::nanoseconds patience);

  // There is enough room to let the kernel write into a file that is being opened ...
  bool passthrough() const { return used() <= limits_.bytes / 2; }
  // ... and so little that what it writes into already must be sealed.
  bool sealing() const;
  // There is enough again to take the seals off.
  bool unsealing() const;
  // How soon a kernel that writes as fast as it can could have used up what is left until then.
  std::chrono::nanoseconds look_every() const;
  // How large the ring of a new mount's arena should be.
  uint64_t ArenaBytes() const;

  // Takes something out of the reserve that is kept for writes which were accepted while there
  // still was room. False: nothing is left of it.
  bool UseReserve(uint64_t bytes);
  // Looks once more at what there is.
  void Look();

 private:
  uint64_t FreeOnDisk() const;
  uint64_t SealAt() const;
  void Update();
  void LookAtDisk();
  void FillReserve();
  Task<void> Watch();

  boost::asio::any_io_executor executor_;
  std::string directory_;
  std::string reserve_file_;
  Limits limits_;
  OnGate on_gate_;
  OnLow on_low_;
  uint64_t used_ = 0;
  uint64_t disk_free_ = UINT64_MAX;  // at the last look
  int64_t looked_ns_ = 0;
  uint64_t looked_used_ = 0;  // what was used then
  uint64_t reserve_wanted_ = 0;
  uint64_t reserve_ = 0;  // bytes that the reserve file has
  Gate gate_;
  bool watching_ = false;
};

// What the files below a directory take on disk. Any thread.
uint64_t DiskBytesBelow(const std::string& directory);

}  // namespace airstore::broker
