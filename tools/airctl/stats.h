// SPDX-License-Identifier: Apache-2.0
//
// What happened between two answers to `status`, as numbers and as text.
// Threads: pure functions.
#pragma once

#include <airstore/control/v1/control.pb.h>
#include <airstore/control/v1/report.pb.h>

#include <ostream>

namespace airstore::airctl {

// `before` may be nullptr, with an interval of 0: since the mounts were made. What has begun to
// count anew in between counts from 0.
control::v1::StatsReport MakeReport(const control::v1::StatusResponse& now,
                                    const control::v1::StatusResponse* before,
                                    uint64_t interval_ms);

// The part, 0 to 100, that nobody had to ask the broker for; below 0: there was nothing.
int HitPercent(const control::v1::LayerStats& layers);

void PrintReport(std::ostream& out, const control::v1::StatsReport& report, bool colours);

}  // namespace airstore::airctl
