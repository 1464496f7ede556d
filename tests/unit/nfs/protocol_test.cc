// SPDX-License-Identifier: Apache-2.0
//
// The bytes of messages, written down from RFC 1813 and RFC 4506.
#include <gtest/gtest.h>

#include <string>

#include "frontends/nfs/nfs3.h"

namespace airstore::nfs {
namespace {

std::string Hex(const char* bytes, size_t count) {
  std::string text;
  for (size_t i = 0; i < count; ++i) {
    char digits[3];
    snprintf(digits, sizeof(digits), "%02x", static_cast<unsigned char>(bytes[i]));
    text += digits;
  }
  return text;
}

template <typename T>
std::string Coded(bool_t (*coder)(XDR*, T*), T value) {
  char bytes[512];
  XDR out;
  xdrmem_create(&out, bytes, sizeof(bytes), XDR_ENCODE);
  EXPECT_TRUE(coder(&out, &value));
  return Hex(bytes, xdr_getpos(&out));
}

TEST(Protocol, CodesNamesAsStrings) {
  char handle[] = "hhh";
  char name[] = "names";
  EXPECT_EQ(Coded(xdr_diropargs3, diropargs3{{{3, handle}}, {5, name}}),
            "00000003"
            "68686800"
            "00000005"
            "6e616d65"
            "73000000");
}

TEST(Protocol, CodesAttributesInTheOrderOfTheRfc) {
  const fattr3 value{NF3REG, 2, 3, 4, 5, 6, 7, {8, 9}, 10, 11, {12, 13}, {14, 15}, {16, 17}};
  EXPECT_EQ(Coded(xdr_fattr3, value),
            "00000001"
            "00000002"
            "00000003"
            "00000004"
            "00000005"
            "0000000000000006"
            "0000000000000007"
            "00000008"
            "00000009"
            "000000000000000a"
            "000000000000000b"
            "0000000c"
            "0000000d"
            "0000000e"
            "0000000f"
            "00000010"
            "00000011");
}

TEST(Protocol, CodesChoices) {
  EXPECT_EQ(Coded(xdr_post_op_attr, post_op_attr{}), "00000000");
  sattr3 set{};
  set.size.set_it = TRUE;
  set.size.set_size3_u.size = 1;
  set.mtime.set_it = SET_TO_SERVER_TIME;
  EXPECT_EQ(Coded(xdr_sattr3, set),
            "00000000"
            "00000000"
            "00000000"
            "00000001"
            "0000000000000001"
            "00000000"
            "00000001");
  createhow3 exclusive{};
  exclusive.mode = EXCLUSIVE;
  memcpy(exclusive.createhow3_u.verf, "12345678", 8);
  EXPECT_EQ(Coded(xdr_createhow3, exclusive),
            "00000002"
            "3132333435363738");
}

TEST(Protocol, RefusesHandlesThatAreTooLong) {
  char bytes[4 + 68] = {0, 0, 0, 65};
  XDR in;
  xdrmem_create(&in, bytes, sizeof(bytes), XDR_DECODE);
  char room[NFS3_FHSIZE];
  nfs_fh3 handle{{0, room}};
  EXPECT_FALSE(xdr_nfs_fh3(&in, &handle));
}

}  // namespace
}  // namespace airstore::nfs
