// SPDX-License-Identifier: Apache-2.0
//
// What the gateway's protocol cannot say is refused here, before anything is tried, so that whoever
// asks is told at once.
#include <sys/stat.h>

#include <cstdlib>

#include "broker/clock.h"
#include "broker/names.h"
#include "broker/tree.h"

namespace airstore::broker {
namespace {

// Between the clock of who wants "now" and ours.
constexpr int64_t kAboutNow = 2'000'000'000;

bool IsNow(int64_t time_ns) { return std::llabs(time_ns - RealtimeNs()) < kAboutNow; }

}  // namespace

Result<void> Tree::CheckNewName(const std::string& name) const {
  if (!ValidName(name)) return NameError(name);
  const GatewayTraits can = gateway_->traits();
  if (!can.any_names && !IsUtf8(name)) return Error{EILSEQ, name};
  // It would be there and in no listing.
  if (!can.shows_all_names && (name.rfind("._", 0) == 0 || name == ".DS_Store")) {
    return Error{EPERM, name};
  }
  return {};
}

Result<void> Tree::CheckNew(const NewNode& node) const {
  const GatewayTraits can = gateway_->traits();
  const uint32_t type = node.mode & S_IFMT;
  if (!can.special_files && type != S_IFREG && type != S_IFDIR && type != S_IFLNK) {
    return Error{EPERM, "special file"};
  }
  if (!can.any_names && !IsUtf8(node.symlink_target)) return Error{EILSEQ, "symbolic link"};
  return {};
}

bool Tree::NeedsContent(uint64_t inode) const {
  return !gateway_->traits().keeps_nameless && contents_->IsOpenInPart(inode);
}

// Whose it is and what it permits, where the gateway does not keep that.
void Tree::Conform(Attr* attr) const {
  const GatewayTraits can = gateway_->traits();
  if (can.owner) {
    attr->uid = can.owner->uid;
    attr->gid = can.owner->gid;
  }
  if (!can.modes && IsRegular(attr->mode)) attr->mode = S_IFREG | 0644;
  if (!can.modes && IsDirectory(attr->mode)) attr->mode = S_IFDIR | 0755;
}

Result<void> Tree::CheckSetattr(const shm::InodeRecord& record, AttrChange* change) const {
  const GatewayTraits can = gateway_->traits();
  if (can.owner) {
    if ((change->valid & shm::kSetUid) != 0 && change->uid != can.owner->uid) {
      return Error{EPERM, "owner"};
    }
    if ((change->valid & shm::kSetGid) != 0 && change->gid != can.owner->gid) {
      return Error{EPERM, "group"};
    }
    change->valid &= ~uint32_t{shm::kSetUid | shm::kSetGid};
    if (change->valid == 0) change->valid = shm::kSetCtime;
  }
  if (!can.modes && (change->valid & shm::kSetMode) != 0) {
    if ((change->mode & 07777) != (record.mode & 07777)) return Error{EPERM, "mode"};
    change->valid &= ~uint32_t{shm::kSetMode};
    if (change->valid == 0) change->valid = shm::kSetCtime;
  }
  if (!can.times && (change->valid & (shm::kSetAtime | shm::kSetMtime)) != 0) {
    const bool now = (change->valid & shm::kSetMtime) != 0 && IsNow(change->mtime_ns) &&
                     ((change->valid & shm::kSetAtime) == 0 || IsNow(change->atime_ns));
    if (!now || !IsRegular(record.mode)) return Error{EPERM, "times"};
  }
  if ((change->valid & shm::kSetSize) != 0 && change->size > max_file_bytes_) {
    return Error{EFBIG, "size"};
  }
  return {};
}

}  // namespace airstore::broker
