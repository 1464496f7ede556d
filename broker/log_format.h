// SPDX-License-Identifier: Apache-2.0
//
// How a line of the log is written, always as one line:
//   text     [time] [program] [level] text key=value key="a value"
//   journal  <priority>text key=value ...: the journal has the rest by itself
//   json     {"time":...,"level":...,"program":...,"pid":...,"message":...,"key":"value"}
// Threads: a formatter by one thread at a time, as spdlog's sinks do.
#pragma once

#include <spdlog/formatter.h>

#include <memory>

namespace airstore::broker {

enum class LogFormat { kText, kJournal, kJson };

std::unique_ptr<spdlog::formatter> MakeLogFormatter(LogFormat format);

}  // namespace airstore::broker
