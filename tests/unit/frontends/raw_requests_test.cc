// SPDX-License-Identifier: Apache-2.0
#include "frontends/fuse/raw_requests.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "frontends/fuse/kernel_abi.h"

namespace airstore::fuse {
namespace {

template <typename Body>
std::vector<uint8_t> Request(uint32_t opcode, const Body& body, const std::string& behind = "") {
  std::vector<uint8_t> bytes(sizeof(abi::InHeader) + sizeof(Body) + behind.size());
  abi::InHeader header{};
  header.len = static_cast<uint32_t>(bytes.size());
  header.opcode = opcode;
  header.unique = 2;
  memcpy(bytes.data(), &header, sizeof(header));
  memcpy(bytes.data() + sizeof(header), &body, sizeof(body));
  memcpy(bytes.data() + sizeof(header) + sizeof(body), behind.data(), behind.size());
  return bytes;
}

abi::InHeader HeaderOf(const std::vector<uint8_t>& request) {
  abi::InHeader header;
  memcpy(&header, request.data(), sizeof(header));
  return header;
}

size_t Translate(std::vector<uint8_t>* request, bool setxattr_ext = true) {
  return TranslateRequest(request->data(), request->size(), setxattr_ext);
}

TEST(RawRequests, MakeCreationsOfFilesWithoutAName) {
  auto request = Request(abi::kOpTmpfile, abi::CreateIn{0, 0100644, 022, 0}, std::string("/", 2));
  EXPECT_EQ(request.size(), Translate(&request));
  EXPECT_EQ(abi::kOpCreate, HeaderOf(request).opcode);
  EXPECT_TRUE(Hints().tmpfile);
  auto ordinary = Request(abi::kOpCreate, abi::CreateIn{}, std::string("f", 2));
  Translate(&ordinary);
  EXPECT_FALSE(Hints().tmpfile) << "hints are of the last request";
}

TEST(RawRequests, MakeStatxAGetattr) {
  struct {
    uint32_t flags, reserved;
    uint64_t handle;
    uint32_t sx_flags, sx_mask;
  } body{1, 0, 99, 0, 0xfff};
  auto request = Request(abi::kOpStatx, body);
  Translate(&request);
  EXPECT_EQ(abi::kOpGetattr, HeaderOf(request).opcode);
  EXPECT_TRUE(Hints().statx);
}

TEST(RawRequests, NoteWhatTakesSetIdBits) {
  auto setattr = Request(abi::kOpSetattr, abi::SetattrIn{abi::kSetattrKillSuidgid, 0});
  Translate(&setattr);
  EXPECT_TRUE(Hints().kill_set_id);
  auto open = Request(abi::kOpOpen, abi::OpenIn{0, abi::kOpenKillSuidgid});
  Translate(&open);
  EXPECT_TRUE(Hints().kill_set_id);
  abi::WriteIn killing{};
  killing.write_flags = abi::kWriteKillSuidgid;
  auto write = Request(abi::kOpWrite, killing, "data");
  Translate(&write);
  EXPECT_TRUE(Hints().kill_set_id);
  auto plain = Request(abi::kOpWrite, abi::WriteIn{}, "data");
  Translate(&plain);
  EXPECT_FALSE(Hints().kill_set_id);
}

TEST(RawRequests, ShortenSetxattr) {
  const std::string behind("user.a\0value", 12);
  const abi::SetxattrIn body{5, 1, abi::kSetxattrAclKillSgid, 0};
  auto request = Request(abi::kOpSetxattr, body, behind);
  const size_t bytes = Translate(&request);
  EXPECT_EQ(request.size() - 8, bytes);
  EXPECT_EQ(bytes, HeaderOf(request).len);
  EXPECT_TRUE(Hints().kill_sgid);
  EXPECT_EQ(behind, std::string(reinterpret_cast<char*>(request.data()) + sizeof(abi::InHeader) + 8,
                                behind.size()));
  auto old = Request(abi::kOpSetxattr, body, behind);
  EXPECT_EQ(old.size(), Translate(&old, false));
  EXPECT_FALSE(Hints().kill_sgid);
}

TEST(RawRequests, LeaveShortRequestsAlone) {
  for (uint32_t opcode = 0; opcode < 64; ++opcode) {
    for (size_t bytes = 0; bytes < 48; ++bytes) {
      auto request = Request(opcode, uint64_t{~0ull});
      request.resize(bytes);
      EXPECT_LE(TranslateRequest(request.data(), bytes, true), bytes);
    }
  }
}

}  // namespace
}  // namespace airstore::fuse
