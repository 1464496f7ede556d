// SPDX-License-Identifier: Apache-2.0
//
// Session: serves one FUSE device with libfuse's low-level API.
//
// libfuse neither opens nor mounts the device (the broker did); it reads and writes through two
// hooks of ours, which complete the INIT reply and notice the end of the mount.
//
// A frontend that continues a mount after its predecessor's death gets no INIT from the kernel: it
// gives libfuse the one that the first frontend has saved, and keeps libfuse's reply to itself.
// Threads: Run blocks and makes the workers: a few stay, more come while calls wait at the broker.
// Owns: the device descriptor.
#pragma once

#include <fuse_lowlevel.h>

#include <functional>

#include "frontends/fuse/early_answers.h"
#include "frontends/fuse/init_patch.h"
#include "frontends/fuse/resent_requests.h"
#include "frontends/volume/volume.h"

namespace airstore::fuse {

class Session {
 public:
  struct Options {
    InitPatch::Passthrough passthrough = InitPatch::Passthrough::kOff;
    std::function<void()> on_ready;    // INIT is answered: requests will come
    std::function<void()> on_unmount;  // from any worker, perhaps more than once
  };

  Session(volume::Volume* volume, Options options);

  // Serves until the file system is unmounted. 0 then, else an errno.
  int Run(UniqueFd device);

  volume::Volume& volume() { return volume_; }
  EarlyAnswers& early_answers() { return early_answers_; }
  // Somebody else answers the request of this thread.
  void OnHandedOver();

 private:
  static void OnInit(void* userdata, fuse_conn_info* connection);
  static ssize_t OnRead(int fd, void* buffer, size_t size, void* userdata);
  static ssize_t OnWrite(int fd, iovec* parts, int count, void* userdata);

  ssize_t AnswerInit(int fd, iovec* parts, int count);
  // False: libfuse does not accept the saved INIT.
  bool ReplayInit(fuse_session* session);

  volume::Volume& volume_;
  const Options options_;
  std::vector<uint8_t> opening_;  // INIT, saved by an earlier frontend; empty: we are the first
  InitPatch init_;
  ResentRequests resent_;
  EarlyAnswers early_answers_;
};

}  // namespace airstore::fuse
