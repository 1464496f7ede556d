// SPDX-License-Identifier: Apache-2.0
//
// Extended attributes. Most files have none, and the kernel asks for those of each file that it
// writes: the table tells.
#include "frontends/volume/stopwatch.h"
#include "frontends/volume/volume.h"
#include "shm/xattr_names.h"

namespace airstore::volume {
namespace {

constexpr std::string_view kTrusted = "trusted.";

int CheckName(std::string_view name) {
  if (name.size() > shm::kMaxName) return ERANGE;
  return shm::IsXattrPrefix(name) ? EINVAL : 0;
}

}  // namespace

bool Volume::HasNoXattrs(uint64_t inode) const {
  shm::InodeRef found;
  return reader_.FindInode(inode, &found) && KnownHere(found.record) &&
         found.record.xattr_count == 0;
}

int Volume::GetXattr(Request& request, uint64_t inode, std::string_view name, std::string* value) {
  if (const int error = CheckName(name); error != 0) return error;
  if (!shm::IsKeptXattr(name)) return EOPNOTSUPP;
  if (HasNoXattrs(inode)) return ENODATA;
  return Call(request, Args(shm::Op::kGetxattr, inode), Wait::kToTheEnd, name, {}, value).error;
}

int Volume::ListXattrs(Request& request, uint64_t inode, std::string* names) {
  if (HasNoXattrs(inode)) return 0;
  std::string all;
  const int error =
      Call(request, Args(shm::Op::kListxattr, inode), Wait::kToTheEnd, {}, {}, &all).error;
  if (error != 0) return error;
  // The kernel leaves this to us: who may not read these is not told of them.
  const bool privileged = request.caller().uid == 0;
  for (size_t at = 0; at < all.size();) {
    const size_t end = all.find('\0', at);
    if (end == std::string::npos) break;
    const std::string_view name(all.data() + at, end - at);
    if (privileged || name.substr(0, kTrusted.size()) != kTrusted) {
      names->append(all, at, end + 1 - at);
    }
    at = end + 1;
  }
  return 0;
}

int Volume::SetXattr(Request& request, uint64_t inode, std::string_view name,
                     std::string_view value, uint32_t flags, uint32_t valid) {
  const Stopwatch watch(*lane_, shm::kLatencyMutation);
  if (options_.read_only) return EROFS;
  if (const int error = CheckName(name); error != 0) return error;
  shm::RequestArgs args = Args(shm::Op::kSetxattr, inode);
  args.flags = flags;
  args.valid = valid;
  return Call(request, args, Wait::kToTheEnd, name, value).error;
}

int Volume::RemoveXattr(Request& request, uint64_t inode, std::string_view name) {
  const Stopwatch watch(*lane_, shm::kLatencyMutation);
  if (options_.read_only) return EROFS;
  if (const int error = CheckName(name); error != 0) return error;
  return Call(request, Args(shm::Op::kRemovexattr, inode), Wait::kToTheEnd, name).error;
}

}  // namespace airstore::volume
