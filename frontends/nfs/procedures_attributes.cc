// SPDX-License-Identifier: Apache-2.0
//
// Attributes, permissions, targets of symbolic links.
#include <sys/stat.h>

#include <string>

#include "frontends/nfs/procedures.h"
#include "frontends/nfs/set_attributes.h"
#include "frontends/volume/stopwatch.h"

namespace airstore::nfs {

Outcome Null(Call& /*call*/, XDR* /*in*/, XDR* /*out*/) { return Outcome::kEncoded; }

Outcome Getattr(Call& call, XDR* in, XDR* out) {
  nfs_fh3 object;
  HandleArg room;
  room.Into(&object);
  if (!xdr_nfs_fh3(in, &object)) return Outcome::kGarbage;
  volume::Node node;
  const nfsstat3 status = call.Find(object, &node);
  if (status != NFS3_OK) return Encoded(Put(out, status));
  fattr3 attributes = AttributesOf(node.record, call.service().fsid);
  return Encoded(Put(out, status) && xdr_fattr3(out, &attributes));
}

Outcome Setattr(Call& call, XDR* in, XDR* out) {
  SETATTR3args args{};
  HandleArg room;
  room.Into(&args.object);
  if (!xdr_SETATTR3args(in, &args)) return Outcome::kGarbage;
  volume::Node node;
  nfsstat3 status = call.Find(args.object, &node);
  if (status != NFS3_OK) {
    wcc_data none{};
    return Encoded(Put(out, status) && xdr_wcc_data(out, &none));
  }
  if (args.guard.check) {
    const nfstime3 now = TimeOf(node.record.ctime_ns);
    const nfstime3& wanted = args.guard.sattrguard3_u.obj_ctime;
    if (now.seconds != wanted.seconds || now.nseconds != wanted.nseconds) {
      status = NFS3ERR_NOT_SYNC;
    }
  }
  if (status == NFS3_OK) status = SetAttributes(call, node, args.new_attributes);
  wcc_data wcc = call.Wcc(&node, node.record.inode);
  return Encoded(Put(out, status) && xdr_wcc_data(out, &wcc));
}

Outcome Access(Call& call, XDR* in, XDR* out) {
  ACCESS3args args{};
  HandleArg room;
  room.Into(&args.object);
  if (!xdr_ACCESS3args(in, &args)) return Outcome::kGarbage;
  volume::Node node;
  const nfsstat3 status = call.Find(args.object, &node);
  if (status != NFS3_OK) {
    post_op_attr none{};
    return Encoded(Put(out, status) && xdr_post_op_attr(out, &none));
  }
  const uint32_t may = volume::AccessOf(call.credentials(), Checked(call, node));
  const bool directory = S_ISDIR(node.record.mode);
  ACCESS3resok answer{call.Tell(node.record), 0};
  if ((may & volume::kMayRead) != 0) answer.access |= ACCESS3_READ;
  if ((may & volume::kMayWrite) != 0) answer.access |= ACCESS3_MODIFY | ACCESS3_EXTEND;
  if ((may & volume::kMayExecute) != 0)
    answer.access |= directory ? ACCESS3_LOOKUP : ACCESS3_EXECUTE;
  if (directory && (may & volume::kMayWrite) != 0) answer.access |= ACCESS3_DELETE;
  answer.access &= args.access;
  return Encoded(Put(out, status) && xdr_ACCESS3resok(out, &answer));
}

Outcome Readlink(Call& call, XDR* in, XDR* out) {
  nfs_fh3 link;
  HandleArg room;
  room.Into(&link);
  if (!xdr_nfs_fh3(in, &link)) return Outcome::kGarbage;
  volume::Node node;
  nfsstat3 status = call.Find(link, &node);
  std::string target;
  if (status == NFS3_OK) {
    status = StatusOf(call.volume().Readlink(call, node.record.inode, &target));
  }
  if (status != NFS3_OK) {
    post_op_attr none{};
    return Encoded(Put(out, status) && xdr_post_op_attr(out, &none));
  }
  READLINK3resok answer{call.Tell(node.record), {static_cast<u_int>(target.size()), target.data()}};
  return Encoded(Put(out, status) && xdr_READLINK3resok(out, &answer));
}

}  // namespace airstore::nfs
