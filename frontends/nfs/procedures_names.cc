// SPDX-License-Identifier: Apache-2.0
//
// Names: looking them up, taking them away, moving them.
#include <sys/stat.h>

#include "frontends/nfs/procedures.h"

namespace airstore::nfs {
namespace {

// The arguments of most: a directory and a name in it.
struct Where {
  Where() {
    handle.Into(&args.dir);
    name.Into(&args.name);
  }
  diropargs3 args{};
  HandleArg handle;
  NameArg name;
};

Outcome WithWcc(XDR* out, nfsstat3 status, wcc_data wcc) {
  return Encoded(Put(out, status) && xdr_wcc_data(out, &wcc));
}

// A name that is not there is asked for all the same: the call may have been carried out already,
// for a frontend that has died since; then that one's answer is had. Where it matters whose file it
// is, nothing is done that was not checked.
nfsstat3 CheckGone(Call& call, const volume::Node& directory) {
  const int refused = volume::CheckCreate(call.credentials(), Checked(call, directory));
  if (refused != 0) return StatusOf(refused);
  return (directory.record.mode & S_ISVTX) != 0 ? NFS3ERR_NOENT : NFS3_OK;
}

nfsstat3 RemoveName(Call& call, const volume::Node& directory, std::string_view name, bool rmdir) {
  volume::Node victim;
  nfsstat3 status = call.FindName(directory, name, &victim);
  if (status == NFS3ERR_NOENT) {
    status = CheckGone(call, directory);
  } else if (status == NFS3_OK) {
    status =
        StatusOf(volume::CheckRemove(call.credentials(), Checked(call, directory), victim.record));
  }
  if (status != NFS3_OK) return status;
  const uint64_t parent = directory.record.inode;
  return StatusOf(rmdir ? call.volume().Rmdir(call, parent, name)
                        : call.volume().Unlink(call, parent, name));
}

Outcome RemoveOne(Call& call, XDR* in, XDR* out, bool rmdir) {
  Where where;
  if (!xdr_diropargs3(in, &where.args)) return Outcome::kGarbage;
  volume::Node directory;
  nfsstat3 status = call.FindDirectory(where.args.dir, &directory);
  if (status != NFS3_OK) return WithWcc(out, status, {});
  const std::string_view name = NameOf(where.args.name);
  if (IsDots(name)) {
    status = rmdir && name == ".." ? NFS3ERR_NOTEMPTY : NFS3ERR_INVAL;
  } else {
    status = RemoveName(call, directory, name, rmdir);
  }
  return WithWcc(out, status, call.Wcc(&directory, directory.record.inode));
}

nfsstat3 CheckMove(Call& call, const volume::Node& from, const volume::Node& source,
                   const volume::Node& to, std::string_view new_name) {
  volume::Node target;
  const nfsstat3 found = call.FindName(to, new_name, &target);
  if (found != NFS3_OK && found != NFS3ERR_NOENT) return found;
  const Checked of_from(call, from);
  const Checked of_to(call, to);
  const Checked of_source(call, source);
  const Checked of_target(call, found == NFS3_OK ? target : source);
  const volume::Subject replaced = of_target;
  const volume::Subject* replaces = found == NFS3_OK ? &replaced : nullptr;
  return StatusOf(
      volume::CheckRename(call.credentials(), {of_from, of_source, of_to, replaces, false}));
}

nfsstat3 MoveName(Call& call, const volume::Node& from, std::string_view name,
                  const volume::Node& to, std::string_view new_name) {
  volume::Node source;
  nfsstat3 status = call.FindName(from, name, &source);
  if (status == NFS3ERR_NOENT) {
    status = CheckGone(call, from);
    if (status == NFS3_OK) status = CheckGone(call, to);
  } else if (status == NFS3_OK) {
    status = CheckMove(call, from, source, to, new_name);
  }
  if (status != NFS3_OK) return status;
  return StatusOf(
      call.volume().Rename(call, from.record.inode, name, to.record.inode, new_name, 0));
}

}  // namespace

Outcome Lookup(Call& call, XDR* in, XDR* out) {
  Where where;
  if (!xdr_diropargs3(in, &where.args)) return Outcome::kGarbage;
  volume::Node directory;
  volume::Node node;
  nfsstat3 status = call.FindDirectory(where.args.dir, &directory);
  post_op_attr of_directory{};
  if (status == NFS3_OK) {
    of_directory = call.Tell(directory.record);
    const std::string_view name = NameOf(where.args.name);
    status = StatusOf(
        volume::CheckAccess(call.credentials(), Checked(call, directory), volume::kMayExecute));
    const bool itself = name == "." || (name == ".." && directory.record.inode == shm::kRootInode);
    if (status == NFS3_OK && itself) {
      node = directory;
    } else if (status == NFS3_OK) {
      status = call.FindName(directory, name, &node);
    }
  }
  if (status != NFS3_OK) return Encoded(Put(out, status) && xdr_post_op_attr(out, &of_directory));
  FileHandles::Handle room;
  LOOKUP3resok answer{call.HandleOf(node.record, &room), call.Tell(node.record), of_directory};
  return Encoded(Put(out, status) && xdr_LOOKUP3resok(out, &answer));
}

Outcome Remove(Call& call, XDR* in, XDR* out) { return RemoveOne(call, in, out, false); }

Outcome Rmdir(Call& call, XDR* in, XDR* out) { return RemoveOne(call, in, out, true); }

Outcome Rename(Call& call, XDR* in, XDR* out) {
  Where from;
  Where to;
  if (!xdr_diropargs3(in, &from.args) || !xdr_diropargs3(in, &to.args)) return Outcome::kGarbage;
  volume::Node old_directory;
  volume::Node new_directory;
  RENAME3res answer{};
  nfsstat3 status = call.FindDirectory(from.args.dir, &old_directory);
  if (status == NFS3_OK) status = call.FindDirectory(to.args.dir, &new_directory);
  if (status == NFS3_OK) {
    const std::string_view name = NameOf(from.args.name);
    const std::string_view new_name = NameOf(to.args.name);
    status = IsDots(name) || IsDots(new_name)
                 ? NFS3ERR_INVAL
                 : MoveName(call, old_directory, name, new_directory, new_name);
    answer = {call.Wcc(&old_directory, old_directory.record.inode),
              call.Wcc(&new_directory, new_directory.record.inode)};
  }
  return Encoded(Put(out, status) && xdr_RENAME3res(out, &answer));
}

Outcome Link(Call& call, XDR* in, XDR* out) {
  nfs_fh3 file;
  HandleArg room;
  room.Into(&file);
  Where where;
  if (!xdr_nfs_fh3(in, &file) || !xdr_diropargs3(in, &where.args)) return Outcome::kGarbage;
  volume::Node node;
  volume::Node directory;
  LINK3res answer{};
  nfsstat3 status = call.Find(file, &node);
  if (status == NFS3_OK) status = call.FindDirectory(where.args.dir, &directory);
  if (status == NFS3_OK) {
    const std::string_view name = NameOf(where.args.name);
    if (IsDots(name)) status = NFS3ERR_EXIST;
    if (status == NFS3_OK) {
      status = StatusOf(volume::CheckCreate(call.credentials(), Checked(call, directory)));
    }
    if (status == NFS3_OK && S_ISDIR(node.record.mode)) status = NFS3ERR_PERM;
    if (status == NFS3_OK) {
      volume::Node linked;
      const int error =
          call.volume().Link(call, node.record.inode, directory.record.inode, name, &linked);
      if (error == 0) call.volume().Forget(linked.record.inode, 1);
      status = StatusOf(error);
    }
    answer = {call.After(node.record.inode), call.Wcc(&directory, directory.record.inode)};
  }
  return Encoded(Put(out, status) && xdr_LINK3res(out, &answer));
}

}  // namespace airstore::nfs
