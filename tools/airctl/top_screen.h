// SPDX-License-Identifier: Apache-2.0
//
// The screen of `airctl top` as lines of text.
// Threads: pure functions.
#pragma once

#include <airstore/control/v1/control.pb.h>
#include <airstore/control/v1/report.pb.h>

#include <string>
#include <vector>

namespace airstore::airctl {

enum class SortBy { kRequests, kP99, kHits, kUnsent, kTraffic, kName };

struct TopView {
  size_t columns = 80;
  size_t rows = 24;
  SortBy sort = SortBy::kRequests;
  bool reversed = false;
  bool paused = false;
  bool help = false;
  bool colours = false;
  size_t first = 0;  // mount that is shown first
};

// Exactly `rows` lines of at most `columns` characters each. REQUIRES: at least 60 x 10
std::vector<std::string> DrawTop(const control::v1::StatusResponse& status,
                                 const control::v1::StatsReport& report, const TopView& view);

// What a key does to the view; false: leave.
bool PressKey(char key, TopView* view);

}  // namespace airstore::airctl
