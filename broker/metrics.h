// SPDX-License-Identifier: Apache-2.0
//
// The numbers of status in the text format of Prometheus.
// Threads: pure functions.
#pragma once

#include <string>

#include "broker/broker_api.h"
#include "broker/log_counts.h"

namespace airstore::broker {

std::string MetricsText(const BrokerStatus& status, const LogCounts& log);

}  // namespace airstore::broker
