// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "tests/fault/bad_successor.h"
#include "tests/fault/worker.h"

int main(int argc, char** argv) {
  namespace fault = airstore::fault;
  if (argc == 5 && std::string(argv[1]) == fault::kWorkerFlag) {
    return fault::RunWorker(argv[2], argv[3], argv[4]);
  }
  const std::string self = argv[0];
  if (fault::RunBadSuccessor(self.substr(self.rfind('/') + 1))) return 0;
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
