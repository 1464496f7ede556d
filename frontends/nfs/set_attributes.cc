// SPDX-License-Identifier: Apache-2.0
#include "frontends/nfs/set_attributes.h"

#include <sys/stat.h>

#include "shm/base/file_clock.h"

namespace airstore::nfs {
namespace {

bool SetsNow(const sattr3& wanted) {
  return wanted.atime.set_it == SET_TO_SERVER_TIME && wanted.mtime.set_it == SET_TO_SERVER_TIME;
}

}  // namespace

nfsstat3 SetAttributes(Call& call, const volume::Node& node, const sattr3& wanted) {
  const shm::InodeRecord& record = node.record;
  volume::SetattrArgs change = ChangesOf(wanted, shm::FileClockNs());
  if (change.valid == 0) return NFS3_OK;
  if ((change.valid & shm::kSetSize) != 0 && !S_ISREG(record.mode)) {
    return S_ISDIR(record.mode) ? NFS3ERR_ISDIR : NFS3ERR_INVAL;
  }
  volume::AttributeChange checked{change.valid, change.mode,     change.uid,
                                  change.gid,   SetsNow(wanted), false};
  const Checked file(call, node);
  // An owner truncates what it has open for writing, whatever the mode says by now.
  if ((change.valid & shm::kSetSize) != 0) {
    const int error = volume::CheckIo(call.credentials(), file, volume::kMayWrite);
    if (error != 0) return StatusOf(error);
    checked.opened = true;
  }
  const int refused = volume::CheckSetattr(call.credentials(), file, &checked);
  if (refused != 0) return StatusOf(refused);
  change.mode = checked.mode;
  const bool gives_away = (change.valid & (shm::kSetUid | shm::kSetGid)) != 0;
  const bool truncates = (change.valid & shm::kSetSize) != 0 && call.identity().uid != 0;
  if (!S_ISDIR(record.mode) && (gives_away || truncates) && (change.valid & shm::kSetMode) == 0) {
    change.valid |= shm::kKillSetId;
  }
  volume::Node changed;
  return StatusOf(call.volume().Setattr(call, record.inode, change, &changed));
}

nfsstat3 SetRemaining(Call& call, const sattr3& wanted, volume::Node* node) {
  sattr3 rest = wanted;
  rest.mode.set_it = FALSE;
  if (rest.size.set_it && rest.size.set_size3_u.size == node->record.size) rest.size.set_it = FALSE;
  if (rest.uid.set_it && rest.uid.set_uid3_u.uid == node->record.uid) rest.uid.set_it = FALSE;
  if (rest.gid.set_it && rest.gid.set_gid3_u.gid == node->record.gid) rest.gid.set_it = FALSE;
  // It is as old as that already.
  if (rest.atime.set_it == SET_TO_SERVER_TIME) rest.atime.set_it = DONT_CHANGE;
  if (rest.mtime.set_it == SET_TO_SERVER_TIME) rest.mtime.set_it = DONT_CHANGE;
  return SetAttributes(call, *node, rest);
}

}  // namespace airstore::nfs
