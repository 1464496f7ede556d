// SPDX-License-Identifier: Apache-2.0
#include "frontends/nfs/rpc_message.h"

#include <gtest/gtest.h>
#include <rpc/auth_unix.h>
#include <rpc/rpc_msg.h>

#include <functional>
#include <vector>

#include "frontends/nfs/nfs3.h"

namespace airstore::nfs {
namespace {

// Coded by libtirpc's own functions.
std::vector<char> CallBytes(uint32_t flavor, uint32_t groups) {
  std::vector<char> credentials(MAX_AUTH_BYTES);
  std::vector<gid_t> gids(groups);
  for (uint32_t i = 0; i < groups; ++i) gids[i] = 100 + i;
  char machine[] = "host";
  authunix_parms parms{5, machine, 1000, 1001, groups, gids.data()};
  XDR out;
  xdrmem_create(&out, credentials.data(), MAX_AUTH_BYTES, XDR_ENCODE);
  EXPECT_TRUE(xdr_authunix_parms(&out, &parms));
  rpc_msg message{};
  message.rm_xid = 0x12345678;
  message.rm_direction = CALL;
  message.rm_call.cb_rpcvers = RPC_MSG_VERSION;
  message.rm_call.cb_prog = NFS3_PROGRAM;
  message.rm_call.cb_vers = 3;
  message.rm_call.cb_proc = NFSPROC3_GETATTR;
  message.rm_call.cb_cred = {static_cast<enum_t>(flavor), credentials.data(), xdr_getpos(&out)};
  std::vector<char> bytes(1024);
  XDR call;
  xdrmem_create(&call, bytes.data(), 1024, XDR_ENCODE);
  EXPECT_TRUE(xdr_callmsg(&call, &message));
  bytes.resize(xdr_getpos(&call));
  return bytes;
}

CallHeadResult Decode(std::vector<char> bytes, CallHead* head) {
  XDR in;
  xdrmem_create(&in, bytes.data(), static_cast<u_int>(bytes.size()), XDR_DECODE);
  return DecodeCallHead(&in, head);
}

TEST(CallHead, IsWhatLibtirpcCodes) {
  CallHead head;
  ASSERT_EQ(Decode(CallBytes(AUTH_SYS, 16), &head), CallHeadResult::kGood);
  EXPECT_EQ(head.xid, 0x12345678u);
  EXPECT_EQ(head.program, uint32_t{NFS3_PROGRAM});
  EXPECT_EQ(head.version, 3u);
  EXPECT_EQ(head.procedure, uint32_t{NFSPROC3_GETATTR});
  EXPECT_EQ(head.flavor, uint32_t{AUTH_SYS});
  EXPECT_EQ(head.identity.uid, 1000u);
  EXPECT_EQ(head.identity.gid, 1001u);
  ASSERT_EQ(head.identity.supplementary().size(), 16u);
  EXPECT_EQ(head.identity.supplementary()[15], 115u);
}

TEST(CallHead, SaysWhatIsWrong) {
  CallHead head;
  const auto good = CallBytes(AUTH_SYS, 2);
  auto version = good;
  version[11] = 3;
  EXPECT_EQ(Decode(version, &head), CallHeadResult::kBadVersion);
  auto reply = good;
  reply[7] = 1;
  EXPECT_EQ(Decode(reply, &head), CallHeadResult::kNoCall);
  auto groups = good;
  groups[52] = 1;  // their number, now 16,777,218
  EXPECT_EQ(Decode(groups, &head), CallHeadResult::kBadIdentity);
  for (size_t bytes = 0; bytes < good.size(); ++bytes) {
    EXPECT_NE(Decode({good.begin(), good.begin() + static_cast<ptrdiff_t>(bytes)}, &head),
              CallHeadResult::kGood)
        << bytes;
  }
}

bool_t NoResults(XDR* /*in*/, ...) { return TRUE; }

// Decoded by libtirpc's own function.
rpc_msg Reply(const std::function<bool(XDR*)>& encode) {
  std::vector<char> bytes(128);
  XDR out;
  xdrmem_create(&out, bytes.data(), 128, XDR_ENCODE);
  EXPECT_TRUE(encode(&out));
  XDR in;
  xdrmem_create(&in, bytes.data(), xdr_getpos(&out), XDR_DECODE);
  rpc_msg message{};
  message.acpted_rply.ar_results.proc = NoResults;
  EXPECT_TRUE(xdr_replymsg(&in, &message));
  EXPECT_EQ(message.rm_xid, 9u);
  return message;
}

TEST(ReplyHead, IsWhatLibtirpcDecodes) {
  EXPECT_EQ(Reply([](XDR* out) { return EncodeSuccess(out, 9); }).acpted_rply.ar_stat, SUCCESS);
  EXPECT_EQ(Reply([](XDR* out) { return EncodeFailure(out, 9, GARBAGE_ARGS); }).acpted_rply.ar_stat,
            GARBAGE_ARGS);
  const rpc_msg versions = Reply([](XDR* out) { return EncodeVersions(out, 9, 3, 3); });
  EXPECT_EQ(versions.acpted_rply.ar_stat, PROG_MISMATCH);
  EXPECT_EQ(versions.acpted_rply.ar_vers.high, 3u);
  EXPECT_EQ(Reply([](XDR* out) { return EncodeRpcMismatch(out, 9); }).rjcted_rply.rj_stat,
            RPC_MISMATCH);
  const rpc_msg denied = Reply([](XDR* out) { return EncodeAuthError(out, 9, AUTH_TOOWEAK); });
  EXPECT_EQ(denied.rjcted_rply.rj_stat, AUTH_ERROR);
  EXPECT_EQ(denied.rjcted_rply.rj_why, AUTH_TOOWEAK);
}

}  // namespace
}  // namespace airstore::nfs
