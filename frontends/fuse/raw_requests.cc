// SPDX-License-Identifier: Apache-2.0
#include "frontends/fuse/raw_requests.h"

#include <cstring>

#include "frontends/fuse/kernel_abi.h"

namespace airstore::fuse {
namespace {

thread_local RequestHints hints;

}  // namespace

const RequestHints& Hints() { return hints; }

size_t TranslateRequest(uint8_t* request, size_t bytes, bool setxattr_ext) {
  hints = {};
  abi::InHeader header;
  if (bytes < sizeof(header)) return bytes;
  memcpy(&header, request, sizeof(header));
  uint8_t* const body = request + sizeof(header);
  const size_t body_bytes = bytes - sizeof(header);
  const auto read = [&]<typename In>(In* in) {
    if (body_bytes < sizeof(In)) return false;
    memcpy(in, body, sizeof(In));
    return true;
  };
  abi::SetattrIn setattr{};
  abi::OpenIn open{};
  abi::CreateIn create{};
  abi::WriteIn write{};
  abi::SetxattrIn setxattr{};
  switch (header.opcode) {
    case abi::kOpSetattr:
      hints.kill_set_id = read(&setattr) && (setattr.valid & abi::kSetattrKillSuidgid) != 0;
      break;
    case abi::kOpOpen:
      hints.kill_set_id = read(&open) && (open.open_flags & abi::kOpenKillSuidgid) != 0;
      break;
    case abi::kOpWrite:
      hints.kill_set_id = read(&write) && (write.write_flags & abi::kWriteKillSuidgid) != 0;
      break;
    case abi::kOpTmpfile:
      hints.tmpfile = true;
      header.opcode = abi::kOpCreate;
      [[fallthrough]];
    case abi::kOpCreate:
      hints.kill_set_id = read(&create) && (create.open_flags & abi::kOpenKillSuidgid) != 0;
      break;
    case abi::kOpStatx:
      hints.statx = true;
      header.opcode = abi::kOpGetattr;  // whose body is the beginning of this one's
      break;
    case abi::kOpSetxattr:
      if (!setxattr_ext || !read(&setxattr)) break;
      hints.kill_sgid = (setxattr.setxattr_flags & abi::kSetxattrAclKillSgid) != 0;
      constexpr size_t kMore = sizeof(setxattr) - abi::kSetxattrInBytes;
      memmove(body + abi::kSetxattrInBytes, body + sizeof(setxattr), body_bytes - sizeof(setxattr));
      bytes -= kMore;
      header.len -= static_cast<uint32_t>(kMore);
      break;
  }
  memcpy(request, &header, sizeof(header));
  return bytes;
}

}  // namespace airstore::fuse
