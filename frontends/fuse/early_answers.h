// SPDX-License-Identifier: Apache-2.0
//
// EarlyAnswers: lets go of who was interrupted while nobody can answer.
//
// The kernel keeps a process whose request a frontend has read, be it killed, until the answer
// comes. Calls that must not be abandoned wait for the broker, and some requests are the broker's
// to answer. When it does not even take notice of the interruption within a second (or has not for
// one already), because it is gone or stopped, the client gets EINTR nevertheless. A broker that is
// being replaced is back before that: programs with timers, whose signals interrupt them, do not
// notice. The call goes on, and what it brings is given back as with any answer that the kernel no
// longer wants.
// Threads: any; starts one when first needed, which sleeps unless somebody was interrupted.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <thread>

#include "frontends/volume/volume.h"

namespace airstore::fuse {

class EarlyAnswers {
 public:
  explicit EarlyAnswers(volume::Volume* volume) : volume_(*volume) {}
  ~EarlyAnswers();

  // Before any other call. The descriptor is the caller's.
  void SetDevice(int device) { device_ = device; }
  // The kernel has sent FUSE_INTERRUPT for that request, by the number it knows it under.
  void OnInterrupt(uint64_t unique);

 private:
  struct Interrupted {
    uint64_t unique = 0;
    volume::Volume::News news;
  };
  void Run();
  void Answer(uint64_t unique) const;

  volume::Volume& volume_;
  int device_ = -1;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Interrupted> interrupted_;  // guarded by mutex_
  std::thread thread_;                   // guarded by mutex_
  bool ending_ = false;                  // guarded by mutex_
};

}  // namespace airstore::fuse
