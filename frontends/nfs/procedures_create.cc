// SPDX-License-Identifier: Apache-2.0
//
// Making files, directories, links and nodes.
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cstring>

#include "frontends/nfs/procedures.h"
#include "frontends/nfs/set_attributes.h"

namespace airstore::nfs {
namespace {

// Where the node is to be made, once that is allowed.
struct Place {
  Place() { handle.Into(&where.dir), name_room.Into(&where.name); }
  std::string_view name() const { return NameOf(where.name); }
  uint64_t parent() const { return directory.record.inode; }

  diropargs3 where{};
  HandleArg handle;
  NameArg name_room;
  volume::Node directory;
};

nfsstat3 Admit(Call& call, Place* place, uint32_t mode, uint64_t rdev) {
  const nfsstat3 status = call.FindDirectory(place->where.dir, &place->directory);
  if (status != NFS3_OK) return status;
  if (IsDots(place->name())) return NFS3ERR_EXIST;
  return StatusOf(
      volume::CheckMakeNode(call.credentials(), Checked(call, place->directory), mode, rdev));
}

uint32_t ModeOf(Call& call, const Place& place, uint32_t type, const sattr3& wanted) {
  const uint32_t mode = wanted.mode.set_it ? wanted.mode.set_mode3_u.mode & 07777 : 0;
  return volume::ModeOfNew(call.credentials(), place.directory.record, type | mode);
}

Outcome Answer(Call& call, XDR* out, const Place& place, nfsstat3 status,
               const volume::Node& made) {
  const bool found = place.directory.record.inode != 0;
  wcc_data wcc = found ? call.Wcc(&place.directory, place.parent()) : wcc_data{};
  if (status != NFS3_OK) return Encoded(Put(out, status) && xdr_wcc_data(out, &wcc));
  FileHandles::Handle room;
  NEWNODE3resok answer{};
  answer.obj.handle_follows = TRUE;
  answer.obj.post_op_fh3_u.handle = call.HandleOf(made.record, &room);
  answer.obj_attributes = call.After(made.record.inode);
  answer.dir_wcc = wcc;
  return Encoded(Put(out, status) && xdr_NEWNODE3resok(out, &answer));
}

// Of Volume's that make a node.
nfsstat3 Made(Call& call, int error, const sattr3& wanted, volume::Node* node) {
  if (error != 0) return StatusOf(error);
  call.volume().Forget(node->record.inode, 1);
  return SetRemaining(call, wanted, node);
}

// The verifier of an exclusive creation lies in the times of the file, so that whoever is asked
// again knows it; the client sets them right afterwards.
sattr3 TimesOf(const createverf3& verifier) {
  uint32_t words[2];
  memcpy(words, verifier, sizeof(words));
  sattr3 out{};
  out.atime.set_it = out.mtime.set_it = SET_TO_CLIENT_TIME;
  out.atime.set_time3_u.time = {words[0] & 0x7fffffff, 0};
  out.mtime.set_time3_u.time = {words[1] & 0x7fffffff, 0};
  return out;
}

bool HasTimes(const shm::InodeRecord& record, const sattr3& times) {
  return record.atime_ns == NsOf(times.atime.set_time3_u.time) &&
         record.mtime_ns == NsOf(times.mtime.set_time3_u.time);
}

// What is there already is opened by an unchecked creation, which also sets what it was given of
// attributes that an open sets: the size.
nfsstat3 OpenExisting(Call& call, const Place& place, const createhow3& how, const sattr3& wanted,
                      volume::Node* node) {
  if (how.mode == GUARDED) return NFS3ERR_EXIST;
  const nfsstat3 status = call.FindName(place.directory, place.name(), node);
  if (status != NFS3_OK) return status;
  if (how.mode == EXCLUSIVE) {
    return S_ISREG(node->record.mode) && HasTimes(node->record, wanted) ? NFS3_OK : NFS3ERR_EXIST;
  }
  if (!S_ISREG(node->record.mode)) {
    return S_ISDIR(node->record.mode) ? NFS3ERR_ISDIR : NFS3ERR_EXIST;
  }
  sattr3 size{};
  size.size = wanted.size;
  return SetAttributes(call, *node, size);
}

// It is not opened: the answer may be that to an earlier frontend, whose opens are gone.
nfsstat3 CreateFile(Call& call, const Place& place, const createhow3& how, const sattr3& wanted,
                    volume::Node* node) {
  const uint32_t mode = ModeOf(call, place, S_IFREG, wanted);
  const int error = call.volume().Mknod(call, place.parent(), place.name(), mode, 0, node);
  if (error == EEXIST) return OpenExisting(call, place, how, wanted, node);
  return Made(call, error, wanted, node);
}

}  // namespace

Outcome Create(Call& call, XDR* in, XDR* out) {
  Place place;
  createhow3 how{};
  if (!xdr_diropargs3(in, &place.where) || !xdr_createhow3(in, &how)) return Outcome::kGarbage;
  const sattr3 wanted = how.mode == EXCLUSIVE   ? TimesOf(how.createhow3_u.verf)
                        : how.mode == UNCHECKED ? how.createhow3_u.unchecked_attributes
                                                : how.createhow3_u.guarded_attributes;
  volume::Node node;
  nfsstat3 status = call.FindDirectory(place.where.dir, &place.directory);
  if (status == NFS3_OK && IsDots(place.name())) status = NFS3ERR_EXIST;
  if (status == NFS3_OK) {
    const int refused = volume::CheckCreate(call.credentials(), Checked(call, place.directory));
    if (refused == 0) {
      status = CreateFile(call, place, how, wanted, &node);
    } else if (volume::CheckAccess(call.credentials(), Checked(call, place.directory),
                                   volume::kMayExecute) == 0 &&
               call.FindName(place.directory, place.name(), &node) == NFS3_OK) {
      status = OpenExisting(call, place, how, wanted, &node);
    } else {
      status = StatusOf(refused);
    }
  }
  return Answer(call, out, place, status, node);
}

Outcome Mkdir(Call& call, XDR* in, XDR* out) {
  Place place;
  sattr3 wanted{};
  if (!xdr_diropargs3(in, &place.where) || !xdr_sattr3(in, &wanted)) return Outcome::kGarbage;
  volume::Node node;
  nfsstat3 status = Admit(call, &place, S_IFDIR, 0);
  if (status == NFS3_OK) {
    const uint32_t mode = ModeOf(call, place, S_IFDIR, wanted);
    const int error = call.volume().Mkdir(call, place.parent(), place.name(), mode & 07777, &node);
    status = Made(call, error, wanted, &node);
  }
  return Answer(call, out, place, status, node);
}

Outcome Symlink(Call& call, XDR* in, XDR* out) {
  Place place;
  symlinkdata3 link{};
  char target[AIRSTORE_PATH];
  link.symlink_data = {0, target};
  if (!xdr_diropargs3(in, &place.where) || !xdr_symlinkdata3(in, &link)) return Outcome::kGarbage;
  volume::Node node;
  nfsstat3 status = Admit(call, &place, S_IFLNK, 0);
  if (status == NFS3_OK) {
    const int error = call.volume().Symlink(
        call, place.parent(), place.name(),
        {link.symlink_data.nfspath3_val, link.symlink_data.nfspath3_len}, &node);
    sattr3 wanted = link.symlink_attributes;
    wanted.size.set_it = FALSE;
    status = Made(call, error, wanted, &node);
  }
  return Answer(call, out, place, status, node);
}

Outcome Mknod(Call& call, XDR* in, XDR* out) {
  Place place;
  mknoddata3 what{};
  if (!xdr_diropargs3(in, &place.where) || !xdr_mknoddata3(in, &what)) return Outcome::kGarbage;
  uint32_t type = 0;
  uint64_t rdev = 0;
  const sattr3* wanted = &what.mknoddata3_u.pipe_attributes;
  switch (what.type) {
    case NF3CHR:
    case NF3BLK: {
      const devicedata3& device = what.mknoddata3_u.chr_device;
      type = what.type == NF3CHR ? S_IFCHR : S_IFBLK;
      rdev = makedev(device.spec.specdata1, device.spec.specdata2);
      wanted = &device.dev_attributes;
      break;
    }
    case NF3SOCK:
      type = S_IFSOCK;
      break;
    case NF3FIFO:
      type = S_IFIFO;
      break;
    default:
      break;
  }
  volume::Node node;
  nfsstat3 status = Admit(call, &place, type, rdev);
  if (status == NFS3_OK && type == 0) status = NFS3ERR_BADTYPE;
  if (status == NFS3_OK) {
    const uint32_t mode = ModeOf(call, place, type, *wanted);
    const int error = call.volume().Mknod(call, place.parent(), place.name(), mode, rdev, &node);
    status = Made(call, error, *wanted, &node);
  }
  return Answer(call, out, place, status, node);
}

}  // namespace airstore::nfs
