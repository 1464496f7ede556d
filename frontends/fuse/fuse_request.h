// SPDX-License-Identifier: Apache-2.0
//
// FuseRequest: a libfuse request as the volume sees it.
//
// libfuse calls the interrupt function from another worker while it holds the request's own lock,
// or at once, from within the registration, when the request is interrupted already. The function
// only wakes waiting calls and takes no lock that a caller of libfuse holds; taking it back waits
// for a call of it that is under way, so the volume outlives every call.
// Threads: the worker that received the request.
#pragma once

#include <fuse_lowlevel.h>

#include "frontends/volume/guard.h"
#include "frontends/volume/volume.h"

namespace airstore::fuse {

class Session;

class FuseRequest final : public volume::Request {
 public:
  explicit FuseRequest(fuse_req_t req);

  volume::Caller caller() const override;
  bool Interrupted() override { return fuse_req_interrupted(req_) != 0; }
  void StartWait() override;
  void EndWait() override;

  // Acts as somebody else than its process.
  bool squashed() const;
  // What `check` says of who is squashed: whatever the kernel has checked, it was somebody else. It
  // is given the mount's volume::Guard, for the caller. Of others 0.
  template <typename Check>
  int Allowed(Check check) {
    if (!squashed()) return 0;
    const volume::Caller who = caller();
    volume::Guard guard(&volume_, this, {who.uid, who.gid});
    return check(guard);
  }

  volume::Volume& volume() const { return volume_; }
  Session& session() const { return session_; }

  // The number of the request that this thread received last, and whether it had been sent before:
  // libfuse does not tell.
  static void SetUnique(uint64_t unique, bool resent);
  static uint64_t Unique();
  static bool Resent();

 private:
  fuse_req_t req_;
  Session& session_;
  volume::Volume& volume_;
};

}  // namespace airstore::fuse
