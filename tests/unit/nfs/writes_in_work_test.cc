// SPDX-License-Identifier: Apache-2.0
#include "frontends/nfs/writes_in_work.h"

#include <gtest/gtest.h>

namespace airstore::nfs {
namespace {

TEST(WritesInWork, OneThatComesAgainIsNotCarriedOutBesideTheFirst) {
  WritesInWork writes;
  {
    const WritesInWork::Turn first(&writes, 1);
    const WritesInWork::Turn other(&writes, 2);
    EXPECT_TRUE(first.first());
    EXPECT_TRUE(other.first());
    const WritesInWork::Turn again(&writes, 1);
    EXPECT_FALSE(again.first());
  }
  const WritesInWork::Turn later(&writes, 1);
  EXPECT_TRUE(later.first());
}

}  // namespace
}  // namespace airstore::nfs
