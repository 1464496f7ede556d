// SPDX-License-Identifier: Apache-2.0
//
// Metrics of brokers and gateways, asked for as Prometheus does.
// Fails how: throws std::runtime_error.
// Threads: any.
#pragma once

#include <string>

#include "tests/e2e/support/host.h"

namespace airstore::e2e {

// Who is started with these serves them at a free port.
inline const Arguments kWithMetrics = {"--metrics", "127.0.0.1:0"};

// The text; the broker's status says where.
std::string Scrape(const Host& host);
// "http://127.0.0.1:PORT/metrics" of a gateway that was started with these; its log says where.
std::string GatewayMetricsAddress(const Host& host);
std::string ScrapeAt(const std::string& address);

}  // namespace airstore::e2e
