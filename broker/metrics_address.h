// SPDX-License-Identifier: Apache-2.0
//
// Where metrics are served: a unix socket, or a port of this host. They name workspaces and mount
// points, so no other host is let in.
// Threads: plain values.
#pragma once

#include <cstdint>
#include <string>

#include "shm/base/result.h"

namespace airstore::broker {

struct MetricsAddress {
  std::string path;   // of a unix socket; empty: a port
  bool v6 = false;    // [::1], not 127.0.0.1
  uint16_t port = 0;  // 0: one that is free
};

// "unix:/path", "127.0.0.1:9464", "localhost:9464", "[::1]:9464". EINVAL says what was expected.
Result<MetricsAddress> ParseMetricsAddress(const std::string& text);

}  // namespace airstore::broker
