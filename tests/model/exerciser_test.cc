// SPDX-License-Identifier: Apache-2.0
//
// One file under random operations. AIRSTORE_SEED and AIRSTORE_EXERCISER_STEPS in the environment
// choose which, and how many.
#include <gtest/gtest.h>

#include <iostream>

#include "tests/e2e/support/host_test.h"
#include "tests/model/exerciser.h"

namespace airstore::model {
namespace {

class ExerciserTest : public e2e::MountTest {
 protected:
  void Exercise(const std::vector<std::string>& mounts, size_t most_bytes, bool direct) {
    const uint64_t seed = e2e::EnvOr("AIRSTORE_SEED", std::random_device()());
    const uint64_t steps = e2e::EnvOr("AIRSTORE_EXERCISER_STEPS", 1500);
    std::cout << "AIRSTORE_SEED=" << seed << std::endl;
    // What a kernel writes by passthrough the one of another mount does not hear of.
    const bool asks =
        mounts.size() > 1 && host().MountStatus(mount()).at("passthrough").get<bool>();
    ExerciserOptions options{.paths = {},
                             .seed = seed,
                             .most_bytes = most_bytes,
                             .direct = direct,
                             .asks_for_size = asks};
    for (const std::string& mount : mounts) {
      options.paths.push_back(mount + "/file" + std::to_string(most_bytes));
    }
    Exerciser exerciser(options);
    for (uint64_t i = 1; i <= steps; ++i) {
      exerciser.Step();
      if (i % 500 == 0) exerciser.CompareAll();
    }
    exerciser.CloseAll();
    exerciser.CompareAll();
    std::cout << steps << " steps: " << exerciser.Summary() << std::endl;
    if (mounts.size() == 1) {
      RemountFresh();
      exerciser.CompareAll();
    }
  }
};

// Around the size up to which content lies in shared memory when nobody writes it.
TEST_F(ExerciserTest, SmallFile) { Exercise({mount()}, 70'000, false); }

TEST_F(ExerciserTest, LargerFile) { Exercise({mount()}, 1'500'000, false); }

TEST_F(ExerciserTest, Direct) { Exercise({mount()}, 300'000, true); }

TEST_F(ExerciserTest, TwoMounts) {
  const std::string other = host().Mount("work", "other");
  Exercise({mount(), other}, 70'000, false);
  Exercise({mount(), other}, 600'000, false);
}

TEST_F(ExerciserTest, TwoMountsDirect) {
  Exercise({mount(), host().Mount("work", "other")}, 300'000, true);
}

}  // namespace
}  // namespace airstore::model
