// SPDX-License-Identifier: Apache-2.0
//
// How airstore-gateway ends when something did not work.
// Threads: one.
#pragma once

#include <cstdio>
#include <string>

#include "shm/base/result.h"

namespace airstore::gateway {

// One line on stderr, and the exit status: 2 where options, URLs or the configuration make no
// sense, whose message says all; else 1.
inline int Failed(const Error& error, const std::string& command = "") {
  const bool wrong_use = error.code == EINVAL;
  std::fprintf(stderr, "airstore-gateway: %s%s\n", command.c_str(),
               (wrong_use ? error.message : error.ToString()).c_str());
  return wrong_use ? 2 : 1;
}

}  // namespace airstore::gateway
