// SPDX-License-Identifier: Apache-2.0
#include "frontends/nfs/left_clients.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <array>
#include <functional>

#include "frontends/nfs/nfs3.h"

namespace airstore::nfs {
namespace {

using Room = std::array<char, 256>;
constexpr size_t kHead = 6 * 4;  // of a reply to a call that was accepted

size_t Refuse(uint32_t program, uint32_t version, uint32_t procedure, Room* room) {
  const uint32_t words[] = {7, CALL, RPC_MSG_VERSION, program, version, procedure, 0, 0, 0, 0};
  std::array<uint8_t, sizeof(words)> record;
  for (size_t i = 0; i < std::size(words); ++i) {
    const uint32_t word = htonl(words[i]);
    memcpy(record.data() + 4 * i, &word, sizeof(word));
  }
  return RefuseCall(record, *room);
}

bool HasAttr(XDR* in) {
  post_op_attr attributes{};
  return xdr_post_op_attr(in, &attributes) && !attributes.attributes_follow;
}

bool HasWcc(XDR* in) {
  wcc_data wcc{};
  return xdr_wcc_data(in, &wcc) && !wcc.before.attributes_follow && !wcc.after.attributes_follow;
}

TEST(LeftClients, AreToldByEachProcedureThatItIsGone) {
  const auto nothing = [](XDR*) { return true; };
  const auto two_wcc = [](XDR* in) { return HasWcc(in) && HasWcc(in); };
  const auto attr_wcc = [](XDR* in) { return HasAttr(in) && HasWcc(in); };
  const std::function<bool(XDR*)> bodies[] = {nothing, nothing, HasWcc,  HasAttr,  HasAttr, HasAttr,
                                              HasAttr, HasWcc,  HasWcc,  HasWcc,   HasWcc,  HasWcc,
                                              HasWcc,  HasWcc,  two_wcc, attr_wcc, HasAttr, HasAttr,
                                              HasAttr, HasAttr, HasAttr, HasWcc};
  static_assert(std::size(bodies) == NFSPROC3_COMMIT + 1);
  Room room;
  EXPECT_EQ(Refuse(NFS3_PROGRAM, 3, NFSPROC3_NULL, &room), kHead);
  for (uint32_t procedure = 1; procedure < std::size(bodies); ++procedure) {
    SCOPED_TRACE(procedure);
    const size_t bytes = Refuse(NFS3_PROGRAM, 3, procedure, &room);
    ASSERT_GE(bytes, kHead + 4);
    XDR in;
    xdrmem_create(&in, room.data() + kHead, static_cast<u_int>(bytes - kHead), XDR_DECODE);
    nfsstat3 status{};
    EXPECT_TRUE(xdr_nfsstat3(&in, &status));
    EXPECT_EQ(status, NFS3ERR_STALE);
    EXPECT_TRUE(bodies[procedure](&in));
    EXPECT_EQ(xdr_getpos(&in), bytes - kHead);
  }
}

TEST(LeftClients, AreToldWhatThereIsNot) {
  Room room;
  const auto said = [&] {
    uint32_t word = 0;
    memcpy(&word, room.data() + kHead - 4, sizeof(word));
    return ntohl(word);
  };
  EXPECT_GE(Refuse(MOUNT3_PROGRAM, 3, 1, &room), kHead);
  EXPECT_EQ(said(), uint32_t{PROG_UNAVAIL});
  EXPECT_GE(Refuse(NFS3_PROGRAM, 4, 1, &room), kHead);
  EXPECT_EQ(said(), uint32_t{PROG_MISMATCH});
  EXPECT_GE(Refuse(NFS3_PROGRAM, 3, 22, &room), kHead);
  EXPECT_EQ(said(), uint32_t{PROC_UNAVAIL});
  EXPECT_EQ(RefuseCall(std::array<uint8_t, 3>{}, room), 0u);
}

TEST(LeftClients, AreKnownByTheirPort) {
  const std::string volumes =
      "NV SERVER   PORT DEV          FSID                              FSC\n"
      "v3 7f000001 8a01 0:50         5a:0                              no\n"
      "v4 c0000201  801 0:51         1:0                               no\n";
  EXPECT_TRUE(HasVolumeOf(volumes, 0x8a01));
  EXPECT_FALSE(HasVolumeOf(volumes, 0x801));  // of another host
  EXPECT_FALSE(HasVolumeOf("", 0x8a01));
}

}  // namespace
}  // namespace airstore::nfs
