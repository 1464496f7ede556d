// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/progress.h"

#include <unistd.h>

#include <cstdio>

#include "tools/airctl/format.h"

namespace airstore::airctl {
namespace {

constexpr std::chrono::seconds kWorthALine{1};

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
  if (!terminal_ || passed < kWorthALine) return;
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(passed).count();
  fprintf(stderr, "\r\033[K%s (%s)%s%s", what_.c_str(),
          HumanDuration(static_cast<uint64_t>(ms)).c_str(), detail_.empty() ? "" : ": ",
          detail_.c_str());
  fflush(stderr);
  shown_ = true;
}

}  // namespace airstore::airctl
