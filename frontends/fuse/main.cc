// SPDX-License-Identifier: Apache-2.0
//
// airstore-fuse: serves one FUSE mount. Started by the broker, which has mounted the device and
// hands it over, with the shared memory, on the channel at descriptor 3.
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "frontends/fuse/notifier.h"
#include "frontends/fuse/session.h"
#include "frontends/process/program.h"
#include "frontends/process/sandbox.h"
#include "frontends/volume/attach.h"
#include "frontends/volume/channel_thread.h"

namespace {

namespace volume = airstore::volume;
namespace fuse = airstore::fuse;

int Serve();
int Notify();
constexpr airstore::FrontendProgram kProgram{"airstore-fuse", "airctl mount", Serve, Notify};

int Serve() {
  const auto fail = [](const std::string& why) { return FailToAttach(kProgram, why); };
  if (auto dropped = airstore::DropPrivileges(); !dropped) return fail(dropped.error().ToString());
  auto attached = volume::Attach(volume::kChannelFd);
  if (!attached) return fail(attached.error().message);
  volume::Volume* const served = attached->volume.get();
  if (auto restricted = airstore::RestrictSystemCalls(); !restricted) {
    return fail(restricted.error().ToString());
  }
  fuse::Session::Options options;
  if ((attached->flags & airstore::shm::kAttachPassthrough) != 0) {
    options.passthrough = fuse::InitPatch::Passthrough::kWanted;
  }
  options.on_ready = [] { volume::ReportReady(volume::kChannelFd); };
  // At once, without joining the workers: one of them may wait for an answer that nobody needs any
  // more, and whatever was acknowledged lies in the lane already.
  options.on_unmount = [] { _exit(volume::kExitUnmounted); };
  fuse::Session session(served, std::move(options));
  session.early_answers().SetDevice(attached->device.get());
  volume::StartChannelThread(volume::kChannelFd, std::move(attached->listener),
                             airstore::UniqueFd(dup(attached->device.get())), served);
  const int error = session.Run(std::move(attached->device));
  if (error != 0) fprintf(stderr, "airstore-fuse: session: %s\n", strerror(error));
  // _exit: the channel's thread still uses the volume.
  _exit(error == 0 ? volume::kExitUnmounted : volume::kExitFailed);
}

int Notify() {
  if (!airstore::DropPrivileges() || !airstore::RestrictSystemCalls()) return volume::kExitFailed;
  return fuse::RunNotifier(volume::kChannelFd);
}

}  // namespace

int main(int argc, char** argv) { return airstore::RunFrontend(kProgram, argc, argv); }
