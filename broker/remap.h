// SPDX-License-Identifier: Apache-2.0
//
// Remap: mounts whose frontends speak another ABI of shared memory go on under this broker.
//
// Nobody here knows their layout. Their own program does: it is started once more, from the file
// that the running process is of, to write tables and lane in portable form, while the frontend
// stands still. From that we make segments of ours; then the mounts are those of frontends that
// have died, whose devices and tables somebody has kept (service_manager.h).
//
//   stopped -> written -> read, beside the old files -> in their place -> Finish: the old
//   frontends are ended, and new ones are started when the loop runs
//
// Until Finish all of it can be taken back: the old files come back, the frontends run on, and a
// broker of their ABI takes over, which may be the one that hands over, or the next one to start.
// Threads: main, before the loop runs. Blocks.
// Fails: with a sentence that names the mount and both ABIs.
#pragma once

#include <string>
#include <vector>

#include "broker/frontend_link.h"
#include "broker/mount_manifest.h"
#include "broker/session_manifest.h"
#include "broker/stopped_process.h"

namespace airstore::broker {

// Of the lane there. 0: none can be read.
struct LaneAbi {
  uint32_t major = 0;
  uint32_t minor = 0;
};
LaneAbi AbiOfLane(const std::string& session_spool, uint32_t mount_index);

class Remap {
 public:
  explicit Remap(std::string spool) : spool_(std::move(spool)) {}
  // Takes back what was not finished.
  ~Remap();
  Remap(const Remap&) = delete;
  Remap& operator=(const Remap&) = delete;

  // First of all takes back what an earlier broker has not finished. Nothing else happens where
  // every lane is of our ABI.
  Result<void> Run();
  // There is no way back any more.
  void Finish();

 private:
  struct Old {
    MountManifest manifest;
    FrontendLink link;
  };
  Result<void> RunSession(const std::string& session_spool, const SessionManifest& manifest);
  Result<Old> Stop(const std::string& session_spool, MountManifest manifest);
  void TakeBack();

  std::string spool_;
  std::vector<std::string> sessions_;  // directories with mounts that are being brought over
  std::vector<StoppedProcess> stopped_;
};

}  // namespace airstore::broker
