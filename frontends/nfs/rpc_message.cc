// SPDX-License-Identifier: Apache-2.0
#include "frontends/nfs/rpc_message.h"

namespace airstore::nfs {
namespace {

bool Put(XDR* out, std::initializer_list<uint32_t> words) {
  for (uint32_t word : words) {
    if (!xdr_u_int32_t(out, &word)) return false;
  }
  return true;
}

// What the caller gives room for is not allocated.
bool GetAuth(XDR* in, char (&room)[MAX_AUTH_BYTES], uint32_t* flavor, u_int* bytes) {
  char* at = room;
  return xdr_u_int32_t(in, flavor) && xdr_bytes(in, &at, bytes, MAX_AUTH_BYTES);
}

bool GetIdentity(char* bytes, u_int length, Identity* identity) {
  XDR in;
  xdrmem_create(&in, bytes, length, XDR_DECODE);
  uint32_t stamp = 0;
  char machine[MAX_MACHINE_NAME + 1];
  char* machine_at = machine;
  if (!xdr_u_int32_t(&in, &stamp) || !xdr_string(&in, &machine_at, MAX_MACHINE_NAME) ||
      !xdr_u_int32_t(&in, &identity->uid) || !xdr_u_int32_t(&in, &identity->gid) ||
      !xdr_u_int32_t(&in, &identity->group_count) ||
      identity->group_count > identity->groups.size()) {
    return false;
  }
  for (uint32_t i = 0; i < identity->group_count; ++i) {
    if (!xdr_u_int32_t(&in, &identity->groups[i])) return false;
  }
  return true;
}

}  // namespace

CallHeadResult DecodeCallHead(XDR* in, CallHead* head) {
  uint32_t direction = 0;
  if (!xdr_u_int32_t(in, &head->xid) || !xdr_u_int32_t(in, &direction) || direction != CALL ||
      !xdr_u_int32_t(in, &head->rpc_version)) {
    return CallHeadResult::kNoCall;
  }
  if (head->rpc_version != RPC_MSG_VERSION) return CallHeadResult::kBadVersion;
  char credentials[MAX_AUTH_BYTES];
  char verifier[MAX_AUTH_BYTES];
  u_int credential_bytes = 0;
  u_int verifier_bytes = 0;
  uint32_t verifier_flavor = 0;
  if (!xdr_u_int32_t(in, &head->program) || !xdr_u_int32_t(in, &head->version) ||
      !xdr_u_int32_t(in, &head->procedure) ||
      !GetAuth(in, credentials, &head->flavor, &credential_bytes) ||
      !GetAuth(in, verifier, &verifier_flavor, &verifier_bytes)) {
    return CallHeadResult::kNoCall;
  }
  if (head->flavor == AUTH_SYS && !GetIdentity(credentials, credential_bytes, &head->identity)) {
    return CallHeadResult::kBadIdentity;
  }
  return CallHeadResult::kGood;
}

bool EncodeSuccess(XDR* out, uint32_t xid) { return EncodeFailure(out, xid, SUCCESS); }

bool EncodeFailure(XDR* out, uint32_t xid, accept_stat failure) {
  return Put(out, {xid, REPLY, MSG_ACCEPTED, AUTH_NONE, 0, static_cast<uint32_t>(failure)});
}

bool EncodeVersions(XDR* out, uint32_t xid, uint32_t lowest, uint32_t greatest) {
  return EncodeFailure(out, xid, PROG_MISMATCH) && Put(out, {lowest, greatest});
}

bool EncodeRpcMismatch(XDR* out, uint32_t xid) {
  return Put(out, {xid, REPLY, MSG_DENIED, RPC_MISMATCH, RPC_MSG_VERSION, RPC_MSG_VERSION});
}

bool EncodeAuthError(XDR* out, uint32_t xid, auth_stat why) {
  return Put(out, {xid, REPLY, MSG_DENIED, AUTH_ERROR, static_cast<uint32_t>(why)});
}

}  // namespace airstore::nfs
