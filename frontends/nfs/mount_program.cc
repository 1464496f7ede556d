// SPDX-License-Identifier: Apache-2.0
//
// The MOUNT protocol: hands out the handle of the root to who knows the path, which is not to be
// guessed; so no list of exports is given away.
#include "frontends/nfs/procedures.h"

namespace airstore::nfs {
namespace {

bool PutStatus(XDR* out, mountstat3 status) { return xdr_mountstat3(out, &status); }

bool GetPath(XDR* in, char (&room)[MNTPATHLEN], std::string_view* path) {
  dirpath at{0, room};
  if (!xdr_dirpath(in, &at)) return false;
  *path = {at.dirpath_val, at.dirpath_len};
  return true;
}

}  // namespace

Outcome Mount(Call& call, XDR* in, XDR* out) {
  char room[MNTPATHLEN];
  std::string_view path;
  if (!GetPath(in, room, &path)) return Outcome::kGarbage;
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  if (path != call.service().options.path) return Encoded(PutStatus(out, MNT3ERR_NOENT));
  volume::Node root;
  if (call.volume().Getattr(call, shm::kRootInode, &root) != 0) {
    return Encoded(PutStatus(out, MNT3ERR_IO));
  }
  FileHandles::Handle handle;
  uint32 flavors[] = {AUTH_SYS};
  mountres3_ok answer{};
  answer.fhandle = call.HandleOf(root.record, &handle);
  answer.auth_flavors.auth_flavors_len = 1;
  answer.auth_flavors.auth_flavors_val = flavors;
  return Encoded(PutStatus(out, MNT3_OK) && xdr_mountres3_ok(out, &answer));
}

// Nobody keeps count of who has mounted.
Outcome Dump(Call& /*call*/, XDR* /*in*/, XDR* out) {
  bool_t follows = FALSE;
  return Encoded(xdr_bool(out, &follows));
}

Outcome Unmount(Call& /*call*/, XDR* /*in*/, XDR* /*out*/) { return Outcome::kEncoded; }

Outcome Export(Call& /*call*/, XDR* /*in*/, XDR* out) {
  bool_t follows = FALSE;
  return Encoded(xdr_bool(out, &follows));
}

}  // namespace airstore::nfs
