// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "tests/fault/bad_successor.h"

int main(int argc, char** argv) {
  const std::string self = argv[0];
  if (airstore::fault::RunBadSuccessor(self.substr(self.rfind('/') + 1))) return 0;
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
