// SPDX-License-Identifier: Apache-2.0
#include "broker/log_setup.h"

#include <spdlog/sinks/rotating_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <mutex>
#include <string>

#include "broker/log_format.h"

namespace airstore::broker {
namespace {

constexpr size_t kFileBytes = 16u << 20;
constexpr size_t kFiles = 5;  // older ones, .1 the newest
// So many lines at once, and so many a second in the long run.
constexpr double kBurst = 500;
constexpr double kPerSecond = 50;

// Whether stderr is a journal's stream: then it has time, program and process by itself, and takes
// the priority in front of a line (sd-daemon(3)).
bool IsJournal() {
  const char* stream = getenv("JOURNAL_STREAM");
  struct stat info {};
  if (stream == nullptr || fstat(STDERR_FILENO, &info) != 0) return false;
  return std::to_string(info.st_dev) + ":" + std::to_string(info.st_ino) == stream;
}

// A leaking bucket in front of another sink.
class Limited final : public spdlog::sinks::sink {
 public:
  explicit Limited(spdlog::sink_ptr next) : next_(std::move(next)) {}

  void log(const spdlog::details::log_msg& message) override {
    const std::lock_guard lock(mutex_);
    const double passed = std::chrono::duration<double>(message.time - last_).count();
    last_ = message.time;
    room_ = std::min(kBurst, room_ + std::max(passed, 0.0) * kPerSecond);
    if (room_ < 1 && message.level < spdlog::level::err) {
      ++left_out_;
      return;
    }
    room_ = std::max(room_ - 1, 0.0);
    if (left_out_ != 0) {
      const std::string text = std::to_string(left_out_) + " lines were left out";
      left_out_ = 0;
      next_->log(spdlog::details::log_msg(message.time, {}, message.logger_name,
                                          spdlog::level::warn, text));
    }
    next_->log(message);
  }
  void flush() override { next_->flush(); }
  void set_pattern(const std::string& pattern) override { next_->set_pattern(pattern); }
  void set_formatter(std::unique_ptr<spdlog::formatter> formatter) override {
    next_->set_formatter(std::move(formatter));
  }

 private:
  const spdlog::sink_ptr next_;
  std::mutex mutex_;
  // Guarded by mutex_.
  spdlog::log_clock::time_point last_{};
  double room_ = kBurst;
  uint64_t left_out_ = 0;
};

Result<spdlog::sink_ptr> MakeSink(const LogOptions& options) {
  if (options.file.empty()) {
    if (IsJournal()) return spdlog::sink_ptr(std::make_shared<spdlog::sinks::stderr_sink_mt>());
    return spdlog::sink_ptr(std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
  }
  const mode_t others = umask(0077);
  try {
    auto sink =
        std::make_shared<spdlog::sinks::rotating_file_sink_mt>(options.file, kFileBytes, kFiles);
    umask(others);
    return spdlog::sink_ptr(std::move(sink));
  } catch (const spdlog::spdlog_ex& error) {
    umask(others);
    return Error{EACCES, std::string("log file: ") + error.what()};
  }
}

}  // namespace

Result<std::shared_ptr<const LogCounts>> SetUpLog(const LogOptions& options) {
  auto sink = MakeSink(options);
  if (!sink) return sink.error();
  const bool journal = options.file.empty() && IsJournal();
  (*sink)->set_formatter(MakeLogFormatter(options.format == "json" ? LogFormat::kJson
                                          : journal                ? LogFormat::kJournal
                                                                   : LogFormat::kText));
  auto counts = std::make_shared<LogCounts>();
  const std::initializer_list<spdlog::sink_ptr> sinks = {std::make_shared<Limited>(*sink), counts};
  spdlog::set_default_logger(std::make_shared<spdlog::logger>(options.program, sinks));
  spdlog::set_level(spdlog::level::from_str(options.level));
  if (!options.file.empty()) spdlog::flush_on(spdlog::level::warn);
  return std::shared_ptr<const LogCounts>(std::move(counts));
}

}  // namespace airstore::broker
