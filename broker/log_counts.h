// SPDX-License-Identifier: Apache-2.0
//
// LogCounts: a log sink that only counts lines, whatever the level that is written.
// Threads: any.
#pragma once

#include <spdlog/sinks/sink.h>

#include <atomic>
#include <cstdint>
#include <memory>

namespace airstore::broker {

class LogCounts final : public spdlog::sinks::sink {
 public:
  void log(const spdlog::details::log_msg& message) override {
    if (message.level == spdlog::level::warn) warnings_.fetch_add(1, std::memory_order_relaxed);
    if (message.level >= spdlog::level::err) errors_.fetch_add(1, std::memory_order_relaxed);
  }
  void flush() override {}
  void set_pattern(const std::string&) override {}
  void set_formatter(std::unique_ptr<spdlog::formatter>) override {}

  uint64_t warnings() const { return warnings_.load(std::memory_order_relaxed); }
  uint64_t errors() const { return errors_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> warnings_{0};
  std::atomic<uint64_t> errors_{0};
};

}  // namespace airstore::broker
