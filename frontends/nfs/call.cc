// SPDX-License-Identifier: Apache-2.0
#include "frontends/nfs/call.h"

#include <sys/stat.h>

#include <algorithm>

#include "shm/xattr_names.h"

namespace airstore::nfs {
namespace {

nfsstat3 RequireFile(const shm::InodeRecord& record) {
  if (S_ISREG(record.mode)) return NFS3_OK;
  return S_ISDIR(record.mode) ? NFS3ERR_ISDIR : NFS3ERR_INVAL;
}

}  // namespace

bool Call::Contain(uint32_t gid) const {
  const auto groups = identity_.supplementary();
  return std::find(groups.begin(), groups.end(), gid) != groups.end();
}

nfsstat3 Call::FindBy(Look look, const nfs_fh3& handle, volume::Node* node) {
  const auto file = service_.handles.Open({handle.data.data_val, handle.data.data_len});
  if (!file) return NFS3ERR_BADHANDLE;
  int error = (volume().*look)(*this, file->inode, node);
  if (error == 0 && (node->record.flags & shm::kOrphan) != 0)
    error = FindNameless(file->inode, node);
  if (error == ENOENT) return NFS3ERR_STALE;
  if (error != 0) return StatusOf(error);
  return node->record.generation == file->generation ? NFS3_OK : NFS3ERR_STALE;
}

int Call::FindNameless(uint64_t inode, volume::Node* node) {
  service_.writers.Close(*this, inode);
  return volume().GetattrAtBroker(*this, inode, node);
}

nfsstat3 Call::Find(const nfs_fh3& handle, volume::Node* node) {
  return FindBy(&volume::Volume::Getattr, handle, node);
}

nfsstat3 Call::FindDirectory(const nfs_fh3& handle, volume::Node* node) {
  const nfsstat3 status = Find(handle, node);
  if (status != NFS3_OK) return status;
  return S_ISDIR(node->record.mode) ? NFS3_OK : NFS3ERR_NOTDIR;
}

nfsstat3 Call::FindFile(const nfs_fh3& handle, volume::Node* node) {
  const nfsstat3 status = Find(handle, node);
  return status == NFS3_OK ? RequireFile(node->record) : status;
}

nfsstat3 Call::FindWritten(const nfs_fh3& handle, volume::Node* node) {
  const nfsstat3 status = FindBy(&volume::Volume::GetattrAsItIs, handle, node);
  return status == NFS3_OK ? RequireFile(node->record) : status;
}

nfsstat3 Call::FindName(const volume::Node& directory, std::string_view name, volume::Node* node) {
  const int error = volume().Lookup(*this, directory.record.inode, name, node);
  if (error != 0) return StatusOf(error);
  volume().Forget(node->record.inode, 1);
  return NFS3_OK;
}

nfs_fh3 Call::HandleOf(const shm::InodeRecord& record, FileHandles::Handle* room) const {
  *room = service_.handles.Seal({record.inode, record.generation});
  nfs_fh3 handle{};
  handle.data.data_len = FileHandles::kBytes;
  handle.data.data_val = room->data();
  return handle;
}

post_op_attr Call::Tell(const shm::InodeRecord& record) const {
  post_op_attr out{};
  out.attributes_follow = TRUE;
  out.post_op_attr_u.attributes = AttributesOf(record, service_.fsid);
  return out;
}

post_op_attr Call::After(uint64_t inode) {
  volume::Node node;
  if (volume().Getattr(*this, inode, &node) != 0) return {};
  return Tell(node.record);
}

wcc_data Call::Wcc(const volume::Node* before, uint64_t inode) {
  wcc_data out{};
  if (before != nullptr && volume().alone()) {
    out.before.attributes_follow = TRUE;
    out.before.pre_op_attr_u.attributes = WccOf(before->record);
  }
  out.after = After(inode);
  return out;
}

Checked::Checked(Call& call, const volume::Node& node) : record_(node.record) {
  if (record_.xattr_count == 0) return;
  const int error = call.volume().GetXattr(call, record_.inode, shm::kAccessAcl, &access_acl_);
  // One that is there and cannot be read grants nothing.
  if (error != 0) access_acl_ = error == ENODATA ? "" : "unknown";
}

}  // namespace airstore::nfs
