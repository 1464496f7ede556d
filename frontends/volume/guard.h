// SPDX-License-Identifier: Apache-2.0
//
// Guard: whether one caller may do what they ask for, where the client does not check, or checks
// somebody else. It gathers the attributes and access lists that permissions.h decides by.
//
// A check and the operation after it are two steps, as they are for a kernel that checks: another
// mount may change a mode in between. What is not there passes: the operation says so, or finds
// that it has been made before, when a client sends it again.
// Threads: one request's.
// Fails: with the errno of the refusal, or of what could not be asked.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "frontends/volume/permissions.h"
#include "frontends/volume/volume.h"

namespace airstore::volume {

class Guard {
 public:
  // All of it outlives the guard.
  Guard(Volume* volume, Request* request, const Credentials& who)
      : volume_(*volume), request_(*request), who_(who) {}

  // `wanted`: kMay*. A lookup wants kMayExecute of the directory.
  int Access(uint64_t inode, uint32_t wanted);
  // `flags`: as for CheckOpen.
  int Open(uint64_t inode, uint32_t flags);
  // A file that is there already is opened instead. `mode` as it is to be made.
  int Create(uint64_t directory, std::string_view name, uint32_t flags, uint32_t* mode);
  int Make(uint64_t directory, uint64_t rdev, uint32_t* mode);
  // A name for what is there already, or has no mode to speak of.
  int MakeName(uint64_t directory) { return Access(directory, kMayWrite | kMayExecute); }
  int Remove(uint64_t directory, std::string_view name);
  // `flags`: of renameat2(2).
  int Rename(uint64_t directory, std::string_view name, uint64_t new_directory,
             std::string_view new_name, uint32_t flags);
  // `values->mode` and `valid` become what may be set. The flags: see AttributeChange.
  int Setattr(uint64_t inode, SetattrArgs* values, bool times_now, bool opened);
  int GetXattr(uint64_t inode, std::string_view name);
  // `valid` as for Volume::SetXattr. Also of removing one.
  int SetXattr(uint64_t inode, std::string_view name, uint32_t* valid);

 private:
  struct File {
    shm::InodeRecord record{};
    std::string access_acl;
    Subject subject() const { return {record, access_acl}; }
  };
  int Load(uint64_t inode, File* out);
  int LoadList(File* file);
  // ENOENT leaves `there` false, and is no error.
  int LoadChild(uint64_t directory, std::string_view name, File* out, bool* there);

  Volume& volume_;
  Request& request_;
  const Credentials who_;
};

}  // namespace airstore::volume
