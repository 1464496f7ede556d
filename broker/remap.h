// SPDX-License-Identifier: Apache-2.0
//
// Remap: mounts whose frontends speak another ABI of shared memory go on under this broker.
//
// Nobody here knows their layout. Their own program does, of which brokers keep a copy beside the
// lanes: it is started to write tables and lane in portable form, while the frontend stands still.
// From that we make segments of ours; then the mounts are those of frontends that have died, whose
// devices and tables somebody has kept (service_manager.h). A lane whose frontend is dead already
// is brought over, too: it may hold what was accepted.
//
// The tables, which all mounts of the session will trust, are written as the broker's user from
// what a broker has made; a lane is written as its owner, from what its owner's process has made.
//
//   stopped -> written -> read, beside the old files -> in their place -> Finish: the old
//   frontends are ended, and new ones are started when the loop runs
//
// Until Finish all of it can be taken back: the old files come back, the frontends run on, and a
// broker of their ABI takes over, which may be the one that hands over, or the next one to start.
// Threads: main, before the loop runs. Blocks.
// Fails: with a sentence that names the mount and both ABIs. EPROTO: trying again would not help.
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

// The copy of a frontend's program in the session's spool, by device and inode of the original.
std::string KeptProgram(const std::string& session_spool, uint64_t device, uint64_t inode);
// Keeps one, if there is none yet: a link where that is possible.
Result<void> KeepProgram(const std::string& program, const std::string& kept);

class Remap {
 public:
  explicit Remap(std::string spool) : spool_(std::move(spool)) {}
  // Takes back what was not finished.
  ~Remap();
  Remap(const Remap&) = delete;
  Remap& operator=(const Remap&) = delete;

  // First of all takes back what an earlier broker has not finished. Nothing else happens where
  // every lane is of our ABI. `all_or_nothing`: else sessions that cannot be brought over are left
  // as they are, and it is said in the log.
  Result<void> Run(bool all_or_nothing);
  // There is no way back any more.
  void Finish();

 private:
  struct Old {
    MountManifest manifest;
    FrontendLink link;  // without a channel: there is no frontend
  };
  struct Session {
    std::string spool;
    std::vector<std::string> notes;
    std::vector<StoppedProcess> stopped;
  };
  Result<void> RunSession(const SessionManifest& manifest, Session* session);
  Result<Old> Stop(const std::string& id, MountManifest manifest, Session* session);
  static void TakeBack(Session* session);

  std::string spool_;
  std::vector<Session> sessions_;  // with mounts that are being brought over
};

}  // namespace airstore::broker
