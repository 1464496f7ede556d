// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/trace.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <thread>

#include "tools/airctl/client.h"
#include "tools/airctl/format.h"
#include "tools/airctl/json_output.h"
#include "tools/airctl/mount_checks.h"

namespace airstore::airctl {
namespace {

namespace wire = control::v1;

using Clock = std::chrono::steady_clock;

constexpr auto kPause = std::chrono::milliseconds(250);
constexpr auto kInterval = std::chrono::seconds(2);
constexpr auto kPatience = std::chrono::seconds(10);

std::string TimeOfDay(int64_t ns) {
  const auto seconds = static_cast<time_t>(ns / 1'000'000'000);
  tm parts{};
  localtime_r(&seconds, &parts);
  char text[32];
  snprintf(text, sizeof text, "%02d:%02d:%02d.%03d", parts.tm_hour, parts.tm_min, parts.tm_sec,
           static_cast<int>(ns / 1'000'000 % 1000));
  return text;
}

std::string Milliseconds(uint64_t ns) {
  char text[32];
  snprintf(text, sizeof text, "%.3f ms", static_cast<double>(ns) / 1e6);
  return text;
}

bool Wanted(const Invocation& asked, const std::string& op) {
  return asked.ops.empty() || std::find(asked.ops.begin(), asked.ops.end(), op) != asked.ops.end();
}

void PrintCall(const Invocation& asked, const Surroundings& around, const wire::TracedCall& call) {
  if (!Wanted(asked, call.op())) return;
  if (asked.json) {
    around.out << ToJsonLine(call) << "\n";
    return;
  }
  around.out << TimeOfDay(call.ended_ns()) << "  " << call.op() << "  "
             << Milliseconds(call.duration_ns()) << "  " << Printable(call.path());
  if (call.error() != 0) around.out << "  " << strerror(call.error());
  around.out << "\n";
}

void PrintMissed(const Invocation& asked, const Surroundings& around, uint64_t calls) {
  if (asked.json) {
    wire::TraceResponse missed;
    missed.set_missed(calls);
    around.out << ToJsonLine(missed) << "\n";
    return;
  }
  around.out << "(" << calls << " more calls in between)\n";
}

// What was added since.
void PrintInterval(const Invocation& asked, const Surroundings& around,
                   const wire::TraceResponse& before, const wire::TraceResponse& now) {
  wire::TraceResponse added;
  for (const auto& [op, totals] : now.ops()) {
    const auto old = before.ops().find(op);
    const wire::OpTotals none;
    const wire::OpTotals& was = old == before.ops().end() ? none : old->second;
    if (totals.count() == was.count() || !Wanted(asked, op)) continue;
    wire::OpTotals& to = (*added.mutable_ops())[op];
    to.set_count(totals.count() - was.count());
    to.set_errors(totals.errors() - was.errors());
    to.set_total_ns(totals.total_ns() - was.total_ns());
  }
  if (added.ops().empty()) return;
  if (asked.json) {
    around.out << ToJsonLine(added) << "\n";
    return;
  }
  around.out << "--";
  std::vector<std::string> names;
  for (const auto& [op, totals] : added.ops()) names.push_back(op);
  std::sort(names.begin(), names.end());
  for (const std::string& op : names) {
    const wire::OpTotals& totals = added.ops().at(op);
    around.out << "  " << op << " " << totals.count() << " (about "
               << Milliseconds(totals.total_ns() / totals.count()) << ")";
    if (totals.errors() != 0) around.out << " " << totals.errors() << " failed";
  }
  around.out << "\n";
}

Outcome<wire::TraceResponse> AskOnce(const Invocation& asked, const wire::Request& request) {
  Progress progress("tracing", false);
  auto client = BrokerClient::Connect(asked.socket);
  if (!client.value) return client.failure;
  client.value->SetPatience(kPatience);
  auto answer = client.value->Call(request, progress);
  if (!answer.value) return answer.failure;
  return answer.value->trace();
}

}  // namespace

const std::set<std::string>& TracedOps() {
  static const std::set<std::string> names = {
      "copy_file_range", "create",  "fallocate", "flush",    "fsync",    "getattr",     "getlk",
      "getxattr",        "link",    "listxattr", "lookup",   "lseek",    "mkdir",       "mknod",
      "mutation",        "open",    "read",      "readdir",  "readlink", "removexattr", "rename",
      "rmdir",           "setattr", "setlk",     "setxattr", "statfs",   "symlink",     "tmpfile",
      "unlink",          "unlock",  "write"};
  return names;
}

std::optional<Failure> Trace(const Invocation& asked, const Surroundings& around) {
  const auto mountpoint = AbsoluteMountPoint(asked.mountpoint);
  wire::Request request;
  wire::TraceRequest* trace = request.mutable_trace();
  trace->set_mountpoint(mountpoint);
  trace->set_slow_us(static_cast<uint64_t>(std::llround(asked.slow_ms * 1000)));
  auto first = AskOnce(asked, request);
  if (!first.value) return first.failure;
  wire::TraceResponse before = *first.value;
  trace->set_after(before.next());
  const auto begun = Clock::now();
  auto shown = begun;
  while (around.out.good()) {
    std::this_thread::sleep_for(kPause);
    auto answer = AskOnce(asked, request);
    if (!answer.value) return answer.failure;
    for (const wire::TracedCall& call : answer.value->calls()) PrintCall(asked, around, call);
    if (answer.value->missed() != 0) PrintMissed(asked, around, answer.value->missed());
    trace->set_after(answer.value->next());
    const auto now = Clock::now();
    const bool over = asked.timeout_seconds > 0 &&
                      now - begun >= std::chrono::duration<double>(asked.timeout_seconds);
    if (now - shown >= kInterval || over) {
      PrintInterval(asked, around, before, *answer.value);
      before = *answer.value;
      shown = now;
    }
    around.out.flush();
    if (over) return {};
  }
  return {};
}

}  // namespace airstore::airctl
