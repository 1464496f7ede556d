// SPDX-License-Identifier: Apache-2.0
//
// What a mount tells who traces it.
#include <spdlog/spdlog.h>

#include "broker/clock.h"
#include "broker/mount.h"
#include "broker/session.h"
#include "broker/virtual/inode.h"

namespace airstore::broker {
namespace {

// Finding a file's path looks at every name: only for calls beside which that is nothing.
constexpr int64_t kWorthAPathNs = 10'000'000;

}  // namespace

void Mount::StartTrace() {
  if (!trace_.settings().on) return;
  spdlog::info("fuse trace enabled (AIRSTORE_FUSE_TRACE=1) mount={}", options_.spec.mountpoint);
  trace_.Expire(MonotonicNs());  // the limit is that of the settings
  session_->tasks().Spawn(TraceIntervals());
}

Task<void> Mount::TraceIntervals() {
  const auto self = shared_from_this();
  std::map<std::string, OpTotals> before = trace_.Totals(*lane_);
  while (in_service()) {
    trace_timer_.expires_after(trace_.settings().interval);
    boost::system::error_code ignored;
    co_await trace_timer_.async_wait(
        boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
    if (!in_service()) break;
    const std::map<std::string, OpTotals> now = trace_.Totals(*lane_);
    std::string line;
    bool any = false;
    for (const auto& [op, totals] : now) {
      const uint64_t count = totals.count - before[op].count;
      any = any || count != 0;
      if (op != "getattr" && op != "readdir" && op != "open" && op != "lookup") continue;
      const uint64_t time = totals.total_ns - before[op].total_ns;
      line += fmt::format(" {0}={1} {0}_err={2} {0}_avg={3}us", op, count,
                          totals.errors - before[op].errors, count == 0 ? 0 : time / count / 1000);
    }
    before = now;
    if (any) spdlog::info("fuse trace (interval) mount={}{}", options_.spec.mountpoint, line);
  }
}

TraceAnswer Mount::Trace(uint64_t after, int64_t slow_ns) {
  trace_.Watch(MonotonicNs(), slow_ns);
  TraceAnswer answer = trace_.After(after);
  answer.ops = trace_.Totals(*lane_);
  return answer;
}

void Mount::NoteCall(const shm::Call& call, const shm::RequestReply& reply, int64_t begun_ns) {
  const int64_t now = MonotonicNs();
  trace_.Count(static_cast<shm::Op>(call.args.op), reply.error);
  if (trace_.Wants(now - begun_ns))
    session_->tasks().Spawn(AddToTrace(call, reply.error, now - begun_ns));
  trace_.Expire(now);
}

Task<void> Mount::AddToTrace(shm::Call call, int error, int64_t duration_ns) {
  const auto self = shared_from_this();
  TracedCall traced;
  traced.ended_ns = RealtimeNs();
  traced.op = NameOfOp(static_cast<shm::Op>(call.args.op));
  traced.inode = call.args.inode;
  traced.duration_ns = duration_ns;
  traced.error = error;
  const auto record = session_->inodes().Get(call.args.inode);
  if (record && IsDirectory(record->mode)) {
    traced.path = session_->tree().DirectoryPath(call.args.inode);
    if (!call.name.empty()) traced.path += "/" + call.name;
    if (traced.path.empty()) traced.path = "/";
  } else if (duration_ns >= kWorthAPathNs) {
    std::unordered_set<uint64_t> one;
    one.insert(call.args.inode);
    auto paths = co_await session_->tree().PathsOf(std::move(one));
    traced.path = paths[call.args.inode];
  }
  if (traced.path.empty()) traced.path = "inode " + std::to_string(call.args.inode);
  const TraceSettings& settings = trace_.settings();
  if (settings.on && settings.slow.count() > 0 && duration_ns >= settings.slow.count()) {
    spdlog::info("fuse slow op op={} path={} dur={}ms error={}", traced.op, traced.path,
                 duration_ns / 1'000'000, error);
  }
  trace_.Add(std::move(traced));
}

}  // namespace airstore::broker
