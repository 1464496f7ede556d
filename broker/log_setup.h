// SPDX-License-Identifier: Apache-2.0
//
// Where log lines go: stderr, with the priorities that a journal understands when it is one, or a
// file that is rotated. A flood of lines is cut short, errors are not.
// Threads: the first call before there are others.
#pragma once

#include <memory>

#include <string>

#include "broker/log_counts.h"
#include "shm/base/result.h"

namespace airstore::broker {

struct LogOptions {
  std::string program;
  std::string level = "info";
  std::string format = "text";  // or "json"
  std::string file = {};        // empty: stderr
};

// Makes the default logger. EACCES and the like when the file cannot be written.
Result<std::shared_ptr<const LogCounts>> SetUpLog(const LogOptions& options);

}  // namespace airstore::broker
