// SPDX-License-Identifier: Apache-2.0
//
// StoppedProcess: a frontend that stands still while what it shares is looked at. How far its
// threads had come is of no importance: a lane bears a death at any point.
//
// When we die, a process that does nothing but wait for that lets it go on. Should that one have
// been killed with us, a note in the spool says who was stopped, for the next broker.
// Threads: one, before there are others. Calls block, for seconds at most.
#pragma once

#include <sys/types.h>

#include <string>

#include "shm/base/fd.h"
#include "shm/base/result.h"

namespace airstore::broker {

class StoppedProcess {
 public:
  // Returns when no thread of it runs. Goes on with the end of this object. `note`: path of the
  // file that says so.
  static Result<StoppedProcess> Stop(pid_t pid, int pidfd, const std::string& note);
  // 0: nobody, who has ended before.
  static Result<void> WriteNote(const std::string& note, pid_t pid);
  // Whom the note names goes on, and the note goes.
  static void Continue(const std::string& note);

  StoppedProcess(StoppedProcess&&) = default;
  StoppedProcess& operator=(StoppedProcess&&) = default;

  // Ends it; returns when it is gone, or after a moment. The note stays.
  void End();

 private:
  StoppedProcess(UniqueFd pidfd, UniqueFd guarded)
      : pidfd_(std::move(pidfd)), guarded_(std::move(guarded)) {}

  UniqueFd pidfd_;
  UniqueFd guarded_;  // while it is open the guard waits
};

}  // namespace airstore::broker
