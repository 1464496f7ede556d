// SPDX-License-Identifier: Apache-2.0
#include "frontends/fuse/init_patch.h"

#include <algorithm>
#include <cstring>

#include "frontends/fuse/kernel_abi.h"

namespace airstore::fuse {

void InitPatch::SeeRequest(std::span<const uint8_t> request) {
  abi::InHeader header;
  if (request.size() < sizeof(header)) return;
  memcpy(&header, request.data(), sizeof(header));
  if (header.opcode != abi::kOpInit) return;
  // Kernels before 7.36 send only the first four words.
  abi::InitIn init{};
  const auto body = request.subspan(sizeof(header));
  memcpy(&init, body.data(), std::min(body.size(), sizeof(init)));
  request_.assign(request.begin(), request.end());
  unique_ = header.unique;
  offered_ = init.flags;
  offered2_ = (init.flags & abi::kInitExt) != 0 ? init.flags2 : 0;
}

bool InitPatch::setxattr_ext() const { return (offered_ & abi::kSetxattrExt) != 0; }

std::vector<uint8_t> InitPatch::Patch(const iovec* parts, int count) const {
  std::vector<uint8_t> reply;
  abi::OutHeader header;
  if (request_.empty() || count < 1 || parts[0].iov_len < sizeof(header)) return reply;
  memcpy(&header, parts[0].iov_base, sizeof(header));
  if (header.unique != unique_ || header.error != 0) return reply;
  for (int i = 0; i < count; ++i) {
    const auto* bytes = static_cast<const uint8_t*>(parts[i].iov_base);
    reply.insert(reply.end(), bytes, bytes + parts[i].iov_len);
  }
  abi::InitOut out;
  // A shorter one answers an old kernel, or one of another major version: leave it alone.
  if (reply.size() < sizeof(header) + sizeof(out)) return reply;
  memcpy(&out, reply.data() + sizeof(header), sizeof(out));
  out.flags |= offered_ & (abi::kParallelDirops | abi::kHandleKillprivV2 | abi::kSetxattrExt);
  uint32_t wanted2 = abi::kDirectIoAllowMmap2;
  if (passthrough_ == Passthrough::kWanted) wanted2 |= abi::kPassthrough2;
  if (const uint32_t granted2 = offered2_ & wanted2; granted2 != 0) {
    out.flags |= abi::kInitExt;
    out.flags2 |= granted2;
    // 1: backing files lie on ordinary file systems, not on stacked ones.
    if ((granted2 & abi::kPassthrough2) != 0) out.max_stack_depth = 1;
  }
  memcpy(reply.data() + sizeof(header), &out, sizeof(out));
  return reply;
}

}  // namespace airstore::fuse
