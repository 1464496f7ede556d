// SPDX-License-Identifier: Apache-2.0
//
// What POSIX lets whom do, as Linux decides it on local file systems: for frontends whose client
// does not check by itself (a mount that squashes root, NFS).
//
// Pure functions of attributes and credentials: 0, or the errno that the call fails with. They ask
// for permission only; whether a name exists, or a file is of the right kind, is found out by the
// operation. "Root" is uid 0 with all capabilities. Search permission of the directories on a path
// is asked for at each LOOKUP, and not again here.
// Threads: any; Groups must bear it.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "shm/layout.h"

namespace airstore::volume {

// Added up, as for access(2).
inline constexpr uint32_t kMayExecute = 1;  // of a directory: search
inline constexpr uint32_t kMayWrite = 2;
inline constexpr uint32_t kMayRead = 4;

// In the flags of an open: the kernel opens the file to run it (__FMODE_EXEC).
inline constexpr uint32_t kOpenToExecute = 0x20;

// The groups of a caller besides the first one. Asked only when an answer depends on them.
class Groups {
 public:
  virtual bool Contain(uint32_t gid) const = 0;

 protected:
  ~Groups() = default;
};

class GroupList final : public Groups {
 public:
  explicit GroupList(std::vector<uint32_t> gids) : gids_(std::move(gids)) {}
  bool Contain(uint32_t gid) const override;

 private:
  std::vector<uint32_t> gids_;
};

struct Credentials {
  uint32_t uid = 0;
  uint32_t gid = 0;
  const Groups* groups = nullptr;  // nullptr: none; else outlives the credentials

  bool IsRoot() const { return uid == 0; }
  bool IsIn(uint32_t group) const {
    return group == gid || (groups != nullptr && groups->Contain(group));
  }
  // May do what is the owner's to do.
  bool ActsAsOwner(const shm::InodeRecord& inode) const { return uid == inode.uid || IsRoot(); }
};

// A file as it is checked. Plain value; what it refers to outlives it.
struct Subject {
  const shm::InodeRecord& inode;
  // Value of its shm::kAccessAcl; empty: it has none. What is no valid list grants nothing.
  std::string_view access_acl = {};
};

// ---- one inode

// `wanted`: kMay*, any of them. EACCES.
int CheckAccess(const Credentials& who, const Subject& file, uint32_t wanted);
// Which of kMay* are granted.
uint32_t AccessOf(const Credentials& who, const Subject& file);
// `flags`: of open(2), with kOpenToExecute. Also of directories. EACCES; EPERM for O_NOATIME.
int CheckOpen(const Credentials& who, const Subject& file, uint32_t flags);
// For protocols without open files, where a program has the file open already: as CheckAccess for
// kMayRead or kMayWrite, but an owner may whatever the mode says, and who may run it may read it.
int CheckIo(const Credentials& who, const Subject& file, uint32_t wanted);

// ---- names. Each names the directories whose permission counts.

// Also of links to a file, which take no permission of the file itself.
int CheckCreate(const Credentials& who, const Subject& directory);
// As CheckCreate; EPERM for devices that are not root's to make. `mode` has the type.
int CheckMakeNode(const Credentials& who, const Subject& directory, uint32_t mode, uint64_t rdev);
// What becomes of the mode of a new file: not everybody may make set-group-id ones.
uint32_t ModeOfNew(const Credentials& who, const shm::InodeRecord& directory, uint32_t mode);
// EACCES; EPERM in a sticky directory.
int CheckRemove(const Credentials& who, const Subject& directory, const shm::InodeRecord& victim);

struct Renaming {
  Subject directory;
  Subject source;
  Subject new_directory;
  const Subject* target = nullptr;  // what is there already, if anything
  bool exchange = false;
};
int CheckRename(const Credentials& who, const Renaming& renaming);

// ---- attributes

struct AttributeChange {
  uint32_t valid = 0;  // shm::SetattrValid
  uint32_t mode = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  bool times_now = false;  // the times that are set are all set to now, and both of them are
  bool opened = false;     // kSetSize: through a descriptor that may write
};
// EPERM, EACCES. Set-group-id goes from `change->mode` when the caller may not give it.
int CheckSetattr(const Credentials& who, const Subject& file, AttributeChange* change);

// EPERM, EACCES, ENODATA.
int CheckGetXattr(const Credentials& who, const Subject& file, std::string_view name);
// Also removes one.
int CheckSetXattr(const Credentials& who, const Subject& file, std::string_view name);
// Set-group-id is lost by who sets this access list (shm::kKillSgid).
bool LosesSetGroupId(const Credentials& who, const shm::InodeRecord& inode);

}  // namespace airstore::volume
