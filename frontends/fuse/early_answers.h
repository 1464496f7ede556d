// SPDX-License-Identifier: Apache-2.0
//
// EarlyAnswers: lets go of who was interrupted while nobody can answer.
//
// The kernel keeps a process whose request a frontend has read, be it killed, until the answer
// comes. Calls that must not be abandoned wait for the broker to the end; when there has been none
// for a while, their clients get EINTR nevertheless. The call goes on, and what it brings, when a
// broker comes, is given back as with any answer that the kernel no longer wants.
// Threads: any.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>

namespace airstore::fuse {

class EarlyAnswers {
 public:
  // Before any other call. The descriptor is the caller's.
  void SetDevice(int device) { device_ = device; }
  // The kernel has sent FUSE_INTERRUPT for that request.
  void OnInterrupt(uint64_t unique);
  // From now on interrupted requests are answered at once: those interrupted already, too.
  void SetUnattended(bool unattended);

 private:
  void Answer(uint64_t unique) const;

  int device_ = -1;
  std::mutex mutex_;
  bool unattended_ = false;  // guarded by mutex_
  // Guarded by mutex_: the last ones, mostly answered long ago, which does no harm. More than there
  // are workers.
  std::array<uint64_t, 128> interrupted_{};
  size_t next_ = 0;  // guarded by mutex_
};

}  // namespace airstore::fuse
