// SPDX-License-Identifier: Apache-2.0
//
// The fixture of the tests of one mount.
#pragma once

#include <fcntl.h>

#include <cerrno>
#include <cstdio>

#include "tests/e2e/support/host_test.h"

namespace airstore::e2e {

class Basics : public MountTest {
 protected:
  int Rename(const std::string& from, const std::string& to, unsigned flags = 0) {
    return ErrnoOf(renameat2(AT_FDCWD, At(from).c_str(), AT_FDCWD, At(to).c_str(), flags));
  }
};

}  // namespace airstore::e2e
