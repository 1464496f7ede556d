// SPDX-License-Identifier: Apache-2.0
//
// A broker's metrics, asked for as Prometheus does.
// Fails how: throws std::runtime_error.
// Threads: any.
#pragma once

#include <string>

#include "tests/e2e/support/host.h"

namespace airstore::e2e {

// What a broker that was started with these serves them at a free port.
inline const Arguments kWithMetrics = {"--metrics", "127.0.0.1:0"};

// The text; the broker's status says where.
std::string Scrape(const Host& host);

}  // namespace airstore::e2e
