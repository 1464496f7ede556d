// SPDX-License-Identifier: Apache-2.0
//
// What is not at the gateway yet: showing it, and waiting until it is.
#include <algorithm>

#include "broker/broker.h"
#include "broker/clock.h"

namespace airstore::broker {
namespace {

constexpr std::chrono::milliseconds kRecoveryPause{50};
constexpr std::chrono::milliseconds kLookPause{1000};

}  // namespace

Outcome<std::vector<Broker::SlotPtr>> Broker::SessionsOf(const Caller& caller,
                                                         const std::string& mountpoint) const {
  std::vector<SlotPtr> slots;
  bool found = mountpoint.empty();
  for (const SlotPtr& slot : sessions_) {
    // What nobody has mounted any more.
    bool wanted = mountpoint.empty() && Governs(caller);
    for (const MountPtr& mount : mounts_) {
      if (mount->session() != slot->session.get()) continue;
      if (!MaySee(caller, *mount)) continue;
      if (!mountpoint.empty() && mount->spec().mountpoint != mountpoint) continue;
      wanted = found = true;
    }
    if (wanted && !slot->closing) slots.push_back(slot);
  }
  if (found) return {std::move(slots), {}};
  return {std::nullopt,
          {FailureKind::kNotFound, mountpoint + " is not a mount of this broker",
           "airctl status lists the mounts"}};
}

std::vector<Broker::RecoveryPtr> Broker::RecoveriesOf(const Caller& caller,
                                                      const std::string& mountpoint) const {
  std::vector<RecoveryPtr> found;
  if (!mountpoint.empty() || !Governs(caller)) return found;
  for (const RecoveryPtr& recovery : recoveries_) {
    if (!recovery->done()) found.push_back(recovery);
  }
  return found;
}

// Nobody else notices the end of who asked.
Task<bool> Broker::DrainFor(const Caller& caller, SlotPtr slot, int64_t deadline_ns,
                            const ProgressFn& progress) {
  for (;;) {
    const auto left = std::chrono::nanoseconds(std::max<int64_t>(deadline_ns - MonotonicNs(), 0));
    const auto step = std::chrono::duration_cast<std::chrono::milliseconds>(left);
    if (co_await DrainSession(slot, std::min(step, kLookPause), progress)) co_return true;
    if (left.count() == 0 || slot->closing || !caller.waits()) co_return false;
  }
}

Task<Outcome<std::vector<DirtyFile>>> Broker::Dirty(const Caller& caller,
                                                    const std::string& mountpoint) {
  auto slots = SessionsOf(caller, mountpoint);
  if (!slots.value) co_return Outcome<std::vector<DirtyFile>>{std::nullopt, slots.failure};
  std::vector<DirtyFile> files;
  for (const SlotPtr& slot : *slots.value) {
    if (!slot->session) continue;
    ++slot->users;  // it may not go while paths are looked for
    const std::vector<Contents::Unsent> unsent = slot->session->contents().ListUnsent();
    std::unordered_set<uint64_t> inodes;
    for (const Contents::Unsent& file : unsent) inodes.insert(file.inode);
    const auto paths = co_await slot->session->tree().PathsOf(std::move(inodes));
    for (const Contents::Unsent& file : unsent) {
      const auto path = paths.find(file.inode);
      const int64_t age = file.since_ns == 0 ? 0 : MonotonicNs() - file.since_ns;
      files.push_back({slot->session->workspace(), path == paths.end() ? "" : path->second,
                       file.inode, file.bytes, static_cast<uint64_t>(age / 1'000'000), file.error,
                       false});
    }
    --slot->users;
    co_await DropSessionIfUnused(slot);
  }
  for (const RecoveryPtr& recovery : RecoveriesOf(caller, mountpoint)) {
    const SessionStatus left = recovery->Status();
    DirtyFile file;
    file.workspace = left.workspace;
    file.bytes = left.dirty_bytes;
    file.age_ms = left.oldest_dirty_ms;
    file.earlier = true;
    files.push_back(std::move(file));
  }
  std::sort(files.begin(), files.end(), [](const DirtyFile& a, const DirtyFile& b) {
    return std::tie(a.workspace, a.path, a.inode) < std::tie(b.workspace, b.path, b.inode);
  });
  co_return Outcome<std::vector<DirtyFile>>{std::move(files), {}};
}

Task<Outcome<Nothing>> Broker::Flush(const Caller& caller, const std::string& mountpoint,
                                     uint64_t timeout_ms, ProgressFn progress) {
  auto slots = SessionsOf(caller, mountpoint);
  if (!slots.value) co_return Outcome<Nothing>{std::nullopt, slots.failure};
  constexpr uint64_t kForEverMs = 365ull * 24 * 3600 * 1000;
  const int64_t deadline =
      MonotonicNs() +
      static_cast<int64_t>(timeout_ms == 0 ? kForEverMs : std::min(timeout_ms, kForEverMs)) *
          1'000'000;
  Failure failure;
  for (const SlotPtr& slot : *slots.value) {
    if (!slot->session) continue;
    ++slot->users;
    if (!co_await DrainFor(caller, slot, deadline, progress)) {
      const std::string why = slot->session->log().last_error();
      failure = {FailureKind::kDirty,
                 std::to_string(slot->session->log().pending()) + " changes to workspace " +
                     slot->session->workspace() + " are not at the gateway yet" +
                     (why.empty() ? "" : ": " + why),
                 "airctl dirty lists the files"};
    }
    --slot->users;
    co_await DropSessionIfUnused(slot);
  }
  boost::asio::steady_timer timer(executor_);
  for (const RecoveryPtr& recovery : RecoveriesOf(caller, mountpoint)) {
    while (!recovery->done() && !recovery->stuck() && MonotonicNs() < deadline && caller.waits()) {
      recovery->Hurry();
      progress("sending changes of an earlier session to the gateway", 0, 0);
      timer.expires_after(kRecoveryPause);
      co_await timer.async_wait(boost::asio::use_awaitable);
    }
    if (recovery->done()) continue;
    failure = {
        FailureKind::kDirty,
        std::to_string(recovery->pending()) + " changes of an earlier session to workspace " +
            recovery->manifest().workspace + " are not at the gateway yet" +
            (recovery->last_error().empty() ? "" : ": " + recovery->last_error()),
        recovery->stuck() ? "its token is not taken any more: mount the workspace with another "
                            "one of this principal"
                          : "airctl status shows how it goes on"};
  }
  if (!failure.message.empty()) co_return Outcome<Nothing>{std::nullopt, failure};
  co_return Outcome<Nothing>{Nothing{}, {}};
}

}  // namespace airstore::broker
