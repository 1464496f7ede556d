// SPDX-License-Identifier: Apache-2.0
#include "broker/v1/refusal.h"

#include <gtest/gtest.h>

namespace airstore::broker::v1 {
namespace {

TEST(Refusal, KnowsTheOriginalsTexts) {
  EXPECT_EQ(ErrnoOf("not found"), ENOENT);
  EXPECT_EQ(ErrnoOf("not a directory"), ENOTDIR);
  EXPECT_EQ(ErrnoOf("is a directory"), EISDIR);
  EXPECT_EQ(ErrnoOf("not a symlink"), EINVAL);
  EXPECT_EQ(ErrnoOf("cannot delete reserved folder"), EPERM);
  EXPECT_EQ(ErrnoOf("data too large"), EFBIG);
  EXPECT_EQ(ErrnoOf("size too large"), EFBIG);
  EXPECT_EQ(ErrnoOf("offset write exceeds maximum size"), EFBIG);
  EXPECT_EQ(ErrnoOf("no auth context"), EACCES);
  EXPECT_EQ(ErrnoOf("no workspace"), EACCES);
  EXPECT_EQ(ErrnoOf("rename failed: NoSuchKey: the key does not exist"), ENOENT);
}

TEST(Refusal, WhatIsNotKnownIsNeverTakenForAMissingName) {
  EXPECT_EQ(ErrnoOf("AccessDenied: SignatureDoesNotMatch"), EIO);
  EXPECT_EQ(ErrnoOf("SlowDown: Please reduce your request rate"), EIO);
  EXPECT_EQ(ErrnoOf(""), EIO);
}

TEST(Refusal, BelievesAStatedErrno) {
  EXPECT_EQ(Refusal("stat", "not found", ENOTDIR).code, ENOTDIR);
  EXPECT_EQ(Refusal("stat", "not found", 0).code, ENOENT);
  EXPECT_EQ(Refusal("stat", "not found", 100000).code, ENOENT);
  EXPECT_EQ(Refusal("stat", "not found", -5).code, ENOENT);
}

TEST(Refusal, TextsArePrintable) {
  EXPECT_EQ(Refusal("stat", "a\x1b[2J\n", 0).message, "stat: a [2J ");
  EXPECT_LT(Refusal("stat", std::string(100'000, 'x'), 0).message.size(), 400u);
}

}  // namespace
}  // namespace airstore::broker::v1
