// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/observe.h"

#include <chrono>
#include <cmath>
#include <functional>
#include <thread>

#include "tools/airctl/client.h"
#include "tools/airctl/json_output.h"
#include "tools/airctl/mount_checks.h"
#include "tools/airctl/stats.h"
#include "tools/airctl/terminal.h"
#include "tools/airctl/top_screen.h"

namespace airstore::airctl {
namespace {

namespace wire = control::v1;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using Trouble = std::optional<Failure>;

constexpr double kUsualInterval = 1;
constexpr std::chrono::seconds kPatience{5};
constexpr size_t kLeastColumns = 60;
constexpr size_t kLeastRows = 10;

struct Sample {
  wire::StatusResponse status;
  Clock::time_point at;
};

// Connects each time: the broker may have been replaced.
Outcome<Sample> Look(const Invocation& asked, const std::function<bool()>& given_up = {}) {
  Progress progress("asking the broker", false);
  if (given_up) progress.KeepQuiet();
  auto client = BrokerClient::Connect(asked.socket);
  if (!client.value) return client.failure;
  client.value->SetPatience(kPatience);
  client.value->SetGivenUp(given_up);
  wire::Request request;
  request.mutable_status()->set_mountpoint(
      asked.mountpoint.empty() ? "" : AbsoluteMountPoint(asked.mountpoint));
  auto answer = client.value->Call(request, progress);
  if (!answer.value) return answer.failure;
  return Sample{std::move(*answer.value->mutable_status()), Clock::now()};
}

milliseconds IntervalOf(const Invocation& asked) {
  const double seconds = asked.interval_seconds == 0 ? kUsualInterval : asked.interval_seconds;
  return milliseconds(std::max<int64_t>(std::llround(seconds * 1000), 1));
}

uint64_t Between(const Sample& before, const Sample& now) {
  const auto passed = std::chrono::duration_cast<milliseconds>(now.at - before.at).count();
  return static_cast<uint64_t>(std::max<int64_t>(passed, 1));
}

void Tell(const Invocation& asked, const Surroundings& around, const wire::StatsReport& report) {
  if (asked.json) {
    // Several are one on a line.
    around.out << (asked.interval_seconds == 0 ? ToJson(report) : ToJsonLine(report)) << std::endl;
  } else {
    PrintReport(around.out, report, around.colours);
    around.out << std::endl;
  }
}

}  // namespace

Trouble Stats(const Invocation& asked, const Surroundings& around) {
  auto last = Look(asked);
  if (!last.value) return last.failure;
  if (asked.interval_seconds == 0) {
    Tell(asked, around, MakeReport(last.value->status, nullptr, 0));
    return {};
  }
  auto next = last.value->at;
  for (uint64_t told = 0; asked.count == 0 || told < asked.count; ++told) {
    next += IntervalOf(asked);
    std::this_thread::sleep_until(next);
    auto now = Look(asked);
    if (!now.value) return now.failure;
    Tell(asked, around,
         MakeReport(now.value->status, &last.value->status, Between(*last.value, *now.value)));
    if (!around.out.good()) return {};
    last = std::move(now);
  }
  return {};
}

Trouble Top(const Invocation& asked, const Surroundings& around) {
  auto before = Look(asked);
  if (!before.value) return before.failure;
  auto terminal = Terminal::Take();
  if (!terminal) {
    return Failure{wire::FAILURE_KIND_USAGE, "top needs a terminal",
                   "airctl stats --interval 1 prints the same numbers"};
  }
  const auto interval = IntervalOf(asked);
  Sample shown = *before.value;
  wire::StatsReport report = MakeReport(shown.status, nullptr, 0);
  TopView view;
  view.colours = around.colours;
  auto next = Clock::now() + std::min(interval, milliseconds(250));  // not empty for long
  for (;;) {
    const Terminal::Size size = terminal->size();
    view.columns = std::max(size.columns, kLeastColumns);
    view.rows = std::max(size.rows, kLeastRows);
    terminal->Draw(DrawTop(shown.status, report, view));
    const auto left = std::chrono::duration_cast<milliseconds>(next - Clock::now());
    const auto key = terminal->AwaitKey(std::max(left, milliseconds(0)));
    if (!key) return {};
    if (*key != 0 && !PressKey(*key, &view)) return {};
    if (Clock::now() < next) continue;
    next = Clock::now() + interval;
    if (view.paused) continue;
    // Keys work while it is asked.
    bool left_by_key = false;
    auto now = Look(asked, [&] {
      const auto pressed = terminal->AwaitKey(milliseconds(0));
      left_by_key = left_by_key || !pressed || (*pressed != 0 && !PressKey(*pressed, &view));
      return left_by_key;
    });
    if (left_by_key) return {};
    if (!now.value) return now.failure;
    report = MakeReport(now.value->status, &shown.status, Between(shown, *now.value));
    shown = std::move(*now.value);
  }
}

}  // namespace airstore::airctl
