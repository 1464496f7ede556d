// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>

#include "tools/airctl/format.h"

namespace airstore::airctl {
namespace {

constexpr std::chrono::seconds kWorthALine{1};

// What does not fit would not be wiped away.
std::string Fitting(const std::string& text) {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 2) return text;
  size_t columns = 0;
  for (size_t at = 0; at < text.size(); ++at) {
    const bool begins = (static_cast<unsigned char>(text[at]) & 0xC0) != 0x80;
    if (begins && ++columns == size.ws_col) return text.substr(0, at);
  }
  return text;
}

}  // namespace

Progress::Progress(std::string what, bool verbose)
    : what_(std::move(what)),
      terminal_(isatty(STDERR_FILENO) == 1),
      verbose_(verbose),
      start_(std::chrono::steady_clock::now()) {}

Progress::~Progress() {
  if (shown_) fputs("\r\033[K", stderr);
}

void Progress::Update(const std::string& message, uint64_t done, uint64_t total) {
  const std::string clean = Printable(message);
  detail_ = clean;
  if (total != 0) {
    const auto percent = static_cast<double>(done) * 100 / static_cast<double>(total);
    detail_ += " " + std::to_string(static_cast<int>(percent)) + " %";
  }
  if (verbose_ && clean != last_message_) {
    fprintf(stderr, "%sairctl: %s\n", shown_ ? "\r\033[K" : "", clean.c_str());
    shown_ = false;
  }
  last_message_ = clean;
  Tick();
}

void Progress::Tick() {
  const auto passed = std::chrono::steady_clock::now() - start_;
  if (!terminal_ || quiet_ || passed < kWorthALine) return;
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(passed).count();
  const std::string line = what_ + " (" + HumanDuration(static_cast<uint64_t>(ms)) + ")" +
                           (detail_.empty() ? "" : ": ") + detail_;
  fprintf(stderr, "\r\033[K%s", Fitting(line).c_str());
  fflush(stderr);
  shown_ = true;
}

}  // namespace airstore::airctl
