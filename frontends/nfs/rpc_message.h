// SPDX-License-Identifier: Apache-2.0
//
// Heads of RPC calls and replies (RFC 5531), with libtirpc's XDR. Its xdr_callmsg is not used: it
// says no more than "no" to a call of another version, which wants an answer.
// Threads: pure.
#pragma once

#include <rpc/rpc.h>

#include <array>
#include <cstdint>
#include <span>

namespace airstore::nfs {

// AUTH_SYS has room for 16 groups.
struct Identity {
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t group_count = 0;
  std::array<uint32_t, 16> groups{};

  std::span<const uint32_t> supplementary() const { return {groups.data(), group_count}; }
};

struct CallHead {
  uint32_t xid = 0;
  uint32_t rpc_version = 0;
  uint32_t program = 0;
  uint32_t version = 0;
  uint32_t procedure = 0;
  uint32_t flavor = 0;  // of the credentials
  Identity identity;    // AUTH_SYS
};

enum class CallHeadResult {
  kGood,
  kNoCall,       // not to be answered
  kBadVersion,   // of RPC
  kBadIdentity,  // credentials that make no sense
};

// Leaves `in` at the arguments.
CallHeadResult DecodeCallHead(XDR* in, CallHead* head);

// Each writes a whole head. The first is followed by results.
bool EncodeSuccess(XDR* out, uint32_t xid);
bool EncodeFailure(XDR* out, uint32_t xid, accept_stat failure);
bool EncodeVersions(XDR* out, uint32_t xid, uint32_t lowest, uint32_t greatest);
bool EncodeRpcMismatch(XDR* out, uint32_t xid);
bool EncodeAuthError(XDR* out, uint32_t xid, auth_stat why);

}  // namespace airstore::nfs
