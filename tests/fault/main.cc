// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "tests/fault/worker.h"

int main(int argc, char** argv) {
  if (argc == 5 && std::string(argv[1]) == airstore::fault::kWorkerFlag) {
    return airstore::fault::RunWorker(argv[2], argv[3], argv[4]);
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
