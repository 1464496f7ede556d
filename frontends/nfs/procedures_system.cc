// SPDX-License-Identifier: Apache-2.0
//
// What the file system as a whole is like.
#include "frontends/nfs/procedures.h"
#include "shm/request_rules.h"

namespace airstore::nfs {
namespace {

constexpr uint32_t kPreferredListing = 32u << 10;
constexpr uint32_t kMultiple = 4096;
constexpr uint32_t kMostLinks = 65000;

// All three are asked of any object of the file system.
nfsstat3 FindAny(Call& call, XDR* in, volume::Node* node, bool* garbage) {
  nfs_fh3 object;
  HandleArg room;
  room.Into(&object);
  *garbage = !xdr_nfs_fh3(in, &object);
  return *garbage ? NFS3ERR_BADHANDLE : call.Find(object, node);
}

Outcome Refuse(XDR* out, nfsstat3 status) {
  post_op_attr none{};
  return Encoded(Put(out, status) && xdr_post_op_attr(out, &none));
}

}  // namespace

Outcome Fsstat(Call& call, XDR* in, XDR* out) {
  volume::Node node;
  bool garbage = false;
  nfsstat3 status = FindAny(call, in, &node, &garbage);
  if (garbage) return Outcome::kGarbage;
  volume::Statfs values;
  if (status == NFS3_OK) status = StatusOf(call.volume().GetStatfs(call, &values));
  if (status != NFS3_OK) return Refuse(out, status);
  FSSTAT3resok answer{
      call.Tell(node.record), values.total_bytes, values.free_bytes,  values.free_bytes,
      values.total_inodes,    values.free_inodes, values.free_inodes, 0};
  return Encoded(Put(out, status) && xdr_FSSTAT3resok(out, &answer));
}

Outcome Fsinfo(Call& call, XDR* in, XDR* out) {
  volume::Node node;
  bool garbage = false;
  const nfsstat3 status = FindAny(call, in, &node, &garbage);
  if (garbage) return Outcome::kGarbage;
  if (status != NFS3_OK) return Refuse(out, status);
  FSINFO3resok answer{};
  answer.obj_attributes = call.Tell(node.record);
  answer.rtmax = answer.rtpref = kMostRead;
  answer.wtmax = answer.wtpref = kMostWrite;
  answer.rtmult = answer.wtmult = kMultiple;
  answer.dtpref = kPreferredListing;
  answer.maxfilesize = shm::kGreatestFile;
  answer.time_delta = {0, 1};
  answer.properties = FSF3_LINK | FSF3_SYMLINK | FSF3_HOMOGENEOUS | FSF3_CANSETTIME;
  return Encoded(Put(out, status) && xdr_FSINFO3resok(out, &answer));
}

Outcome Pathconf(Call& call, XDR* in, XDR* out) {
  volume::Node node;
  bool garbage = false;
  const nfsstat3 status = FindAny(call, in, &node, &garbage);
  if (garbage) return Outcome::kGarbage;
  if (status != NFS3_OK) return Refuse(out, status);
  PATHCONF3resok answer{call.Tell(node.record), kMostLinks, shm::kMaxName, TRUE, TRUE, FALSE, TRUE};
  return Encoded(Put(out, status) && xdr_PATHCONF3resok(out, &answer));
}

}  // namespace airstore::nfs
