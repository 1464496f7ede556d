// SPDX-License-Identifier: Apache-2.0
//
// Extended attributes.
#include <string>

#include "frontends/fuse/fuse_request.h"
#include "frontends/fuse/ops.h"
#include "frontends/fuse/raw_requests.h"

namespace airstore::fuse {
namespace {

// A caller without room asks how much it needs.
void ReplyValue(fuse_req_t req, int error, const std::string& value, size_t room) {
  if (error != 0) {
    fuse_reply_err(req, error);
  } else if (room == 0) {
    fuse_reply_xattr(req, value.size());
  } else if (value.size() > room) {
    fuse_reply_err(req, ERANGE);
  } else {
    fuse_reply_buf(req, value.data(), value.size());
  }
}

void Getxattr(fuse_req_t req, fuse_ino_t inode, const char* name, size_t size) {
  FuseRequest request(req);
  std::string value;
  int error = request.Allowed([&](volume::Guard& guard) { return guard.GetXattr(inode, name); });
  if (error == 0) error = request.volume().GetXattr(request, inode, name, &value);
  ReplyValue(req, error, value, size);
}

void Listxattr(fuse_req_t req, fuse_ino_t inode, size_t size) {
  FuseRequest request(req);
  std::string names;
  const int error = request.volume().ListXattrs(request, inode, &names);
  ReplyValue(req, error, names, size);
}

void Setxattr(fuse_req_t req, fuse_ino_t inode, const char* name, const char* value, size_t size,
              int flags) {
  FuseRequest request(req);
  uint32_t valid = Hints().kill_sgid ? shm::kKillSgid : 0u;
  int error =
      request.Allowed([&](volume::Guard& guard) { return guard.SetXattr(inode, name, &valid); });
  if (error == 0) {
    error = request.volume().SetXattr(request, inode, name, {value, size},
                                      static_cast<uint32_t>(flags), valid);
  }
  fuse_reply_err(req, error);
}

void Removexattr(fuse_req_t req, fuse_ino_t inode, const char* name) {
  FuseRequest request(req);
  uint32_t none = 0;
  int error =
      request.Allowed([&](volume::Guard& guard) { return guard.SetXattr(inode, name, &none); });
  if (error == 0) error = request.volume().RemoveXattr(request, inode, name);
  fuse_reply_err(req, error);
}

}  // namespace

void AddXattrOps(fuse_lowlevel_ops* ops) {
  ops->getxattr = Getxattr;
  ops->listxattr = Listxattr;
  ops->setxattr = Setxattr;
  ops->removexattr = Removexattr;
}

}  // namespace airstore::fuse
