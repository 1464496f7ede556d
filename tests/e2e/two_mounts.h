// SPDX-License-Identifier: Apache-2.0
//
// The fixture of the tests of several mounts on one host.
#pragma once

#include <array>

#include "tests/e2e/support/host_test.h"

namespace airstore::e2e {

// Mounts 0 and 1 are of one workspace, other() of another one.
class TwoMounts : public HostTest {
 protected:
  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    host().CreateWorkspace("work");
    host().CreateWorkspace("other");
    mounts_ = {host().Mount("work", "mnt0"), host().Mount("work", "mnt1")};
    other_ = host().Mount("other", "other");
  }
  std::string At(int mount, const std::string& name) const {
    return mounts_[static_cast<size_t>(mount)] + "/" + name;
  }
  const std::string& mount(int index) const { return mounts_[static_cast<size_t>(index)]; }
  const std::string& other() const { return other_; }

 private:
  std::array<std::string, 2> mounts_;
  std::string other_;
};

}  // namespace airstore::e2e
