// SPDX-License-Identifier: Apache-2.0
#include "frontends/volume/guard.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>

#include "shm/xattr_names.h"

namespace airstore::volume {

int Guard::LoadList(File* file) {
  // Neither an owner nor who has all rights is looked up in it; links have none.
  if (who_.ActsAsOwner(file->record) || S_ISLNK(file->record.mode)) return 0;
  const int error =
      volume_.GetXattr(request_, file->record.inode, shm::kAccessAcl, &file->access_acl);
  return error == ENODATA || error == EOPNOTSUPP ? 0 : error;
}

int Guard::Load(uint64_t inode, File* out) {
  Node node;
  if (const int error = volume_.Getattr(request_, inode, &node); error != 0) return error;
  out->record = node.record;
  return LoadList(out);
}

int Guard::LoadChild(uint64_t directory, std::string_view name, File* out, bool* there) {
  Node node;
  const int error = volume_.Peek(request_, directory, name, &node);
  *there = error == 0;
  if (error != 0) return error == ENOENT ? 0 : error;
  out->record = node.record;
  return LoadList(out);
}

int Guard::Access(uint64_t inode, uint32_t wanted) {
  File file;
  if (const int error = Load(inode, &file); error != 0) return error;
  return CheckAccess(who_, file.subject(), wanted);
}

int Guard::Open(uint64_t inode, uint32_t flags) {
  File file;
  if (const int error = Load(inode, &file); error != 0) return error;
  return CheckOpen(who_, file.subject(), flags);
}

int Guard::Create(uint64_t directory, std::string_view name, uint32_t flags, uint32_t* mode) {
  File parent;
  if (const int error = Load(directory, &parent); error != 0) return error;
  File existing;
  bool there = false;
  if (!name.empty() && (flags & O_EXCL) == 0) {
    if (const int error = CheckAccess(who_, parent.subject(), kMayExecute); error != 0)
      return error;
    if (const int error = LoadChild(directory, name, &existing, &there); error != 0) return error;
  }
  if (there) return CheckOpen(who_, existing.subject(), flags);
  *mode = ModeOfNew(who_, parent.record, *mode);
  return CheckCreate(who_, parent.subject());
}

int Guard::Make(uint64_t directory, uint64_t rdev, uint32_t* mode) {
  File parent;
  if (const int error = Load(directory, &parent); error != 0) return error;
  const int error = CheckMakeNode(who_, parent.subject(), *mode, rdev);
  *mode = ModeOfNew(who_, parent.record, *mode);
  return error;
}

int Guard::Remove(uint64_t directory, std::string_view name) {
  File parent;
  if (const int error = Load(directory, &parent); error != 0) return error;
  if ((parent.record.mode & S_ISVTX) == 0) return CheckCreate(who_, parent.subject());
  File victim;
  bool there = false;
  if (const int error = LoadChild(directory, name, &victim, &there); error != 0) return error;
  if (!there) return CheckCreate(who_, parent.subject());
  return CheckRemove(who_, parent.subject(), victim.record);
}

int Guard::Rename(uint64_t directory, std::string_view name, uint64_t new_directory,
                  std::string_view new_name, uint32_t flags) {
  File from;
  File to;
  File source;
  File target;
  bool source_there = false;
  bool target_there = false;
  int error = Load(directory, &from);
  if (error == 0) error = Load(new_directory, &to);
  if (error == 0) error = LoadChild(directory, name, &source, &source_there);
  if (error == 0) error = LoadChild(new_directory, new_name, &target, &target_there);
  if (error != 0) return error;
  if (!source_there) return CheckCreate(who_, from.subject());
  const Subject there = target.subject();
  return CheckRename(who_, {from.subject(), source.subject(), to.subject(),
                            target_there ? &there : nullptr, (flags & RENAME_EXCHANGE) != 0});
}

int Guard::Setattr(uint64_t inode, SetattrArgs* values, bool times_now, bool opened) {
  constexpr uint32_t kAsked =
      shm::kSetMode | shm::kSetUid | shm::kSetGid | shm::kSetSize | shm::kSetAtime | shm::kSetMtime;
  // What a write does to set-id bits needs no more permission than the write.
  if ((values->valid & kAsked) == 0) return 0;
  File file;
  if (const int error = Load(inode, &file); error != 0) return error;
  AttributeChange change{values->valid, values->mode, values->uid, values->gid, times_now, opened};
  const int error = CheckSetattr(who_, file.subject(), &change);
  values->mode = change.mode;
  if ((values->valid & shm::kSetSize) != 0 && !who_.IsRoot()) values->valid |= shm::kKillSetId;
  return error;
}

int Guard::GetXattr(uint64_t inode, std::string_view name) {
  File file;
  if (const int error = Load(inode, &file); error != 0) return error;
  return CheckGetXattr(who_, file.subject(), name);
}

int Guard::SetXattr(uint64_t inode, std::string_view name, uint32_t* valid) {
  File file;
  if (const int error = Load(inode, &file); error != 0) return error;
  if (name == shm::kAccessAcl && LosesSetGroupId(who_, file.record)) *valid |= shm::kKillSgid;
  return CheckSetXattr(who_, file.subject(), name);
}

}  // namespace airstore::volume
