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
  // A broker that dies with the write lease is waited for so long.
  HostOptions Options() const override { return {.gateway_arguments = {"--session-seconds", "5"}}; }
  int Rename(const std::string& from, const std::string& to, unsigned flags = 0) {
    return ErrnoOf(renameat2(AT_FDCWD, At(from).c_str(), AT_FDCWD, At(to).c_str(), flags));
  }
};

}  // namespace airstore::e2e
