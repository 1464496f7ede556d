// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "tests/fault/ack_log.h"
#include "tests/fault/bad_successor.h"
#include "tests/fault/soak.h"
#include "tests/fault/tree_process.h"
#include "tests/fault/worker.h"

int main(int argc, char** argv) {
  namespace fault = airstore::fault;
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() == 4 && arguments[0] == fault::kWorkerFlag) {
    return fault::RunWorker(arguments[1], arguments[2], arguments[3]);
  }
  if (arguments.size() == 6 && arguments[0] == fault::kLoadFlag) {
    return fault::RunLoad({arguments.begin() + 1, arguments.end()});
  }
  if (arguments.size() == 5 && arguments[0] == fault::kTreeFlag) {
    return fault::RunTree({arguments.begin() + 1, arguments.end()});
  }
  if (fault::WantsSoak(arguments)) return fault::RunSoak(arguments);
  const std::string self = argv[0];
  if (fault::RunBadSuccessor(self.substr(self.rfind('/') + 1))) return 0;
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
