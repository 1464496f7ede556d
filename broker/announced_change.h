// SPDX-License-Identifier: Apache-2.0
//
// AnnouncedChange: a change of names and attributes that the mounts of a session see at once.
//
// Before it is made in the tables, the kernels of the other mounts forget what it contradicts, and
// until it has been made, what frontends tell of that is not to be kept (kChanging). So nobody sees
// what was there before when somebody has seen what came after. A session with one mount pays
// nothing.
//
// What a kernel was told before it forgot cannot reach it later: to forget a name it takes the
// directory's lock, which a lookup holds, or begins a new epoch, and attributes have versions.
// Threads: the event loop.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "broker/gateway.h"
#include "broker/inode_cache.h"
#include "broker/mount_port.h"
#include "broker/task.h"

namespace airstore::broker {

class AnnouncedChange {
 public:
  // Of these names, and the attributes of their directories. `origin`: the mount that it is made
  // through, whose kernel sees to itself.
  AnnouncedChange(InodeCache* inodes, MountSet* mounts, MountPort* origin,
                  std::vector<WatchEvent::Name> names);
  ~AnnouncedChange() { End(); }
  AnnouncedChange(const AnnouncedChange&) = delete;
  AnnouncedChange& operator=(const AnnouncedChange&) = delete;

  // It may be made now, changing the attributes of these `subjects` too: no other mount's kernel
  // holds anything of it.
  bool Ready(const std::vector<uint64_t>& subjects) const;
  // Makes it ready. Waits: what the change depends on must be looked at again.
  // REQUIRES: the directories are in the table.
  Task<void> Announce(std::vector<uint64_t> subjects);
  // It has been made. Listings that were read meanwhile are forgotten as well.
  Task<void> Finish();
  // It has been made, or will not be.
  void End();

 private:
  bool Knows(const MountPort& mount, uint64_t inode) const;
  void Mark(uint64_t inode);
  std::vector<MountPort*> Others() const;
  bool Gone(const MountPort* mount) const;
  Task<void> ForgetNames(bool listed_only);

  InodeCache* inodes_;
  MountSet* mounts_;
  MountPort* origin_;
  std::vector<WatchEvent::Name> names_;
  std::set<uint64_t> marked_;
  std::map<uint32_t, uint64_t> listed_;  // by mount: ListedWhileChanging() when it was told
  bool announced_ = false;
};

}  // namespace airstore::broker
