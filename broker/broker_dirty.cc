// SPDX-License-Identifier: Apache-2.0
//
// What is not at the gateway yet: showing it, and waiting until it is.
#include <algorithm>

#include "broker/broker.h"
#include "broker/clock.h"

namespace airstore::broker {

Outcome<std::vector<Broker::SlotPtr>> Broker::SessionsOf(const Caller& caller,
                                                         const std::string& mountpoint) const {
  std::vector<SlotPtr> slots;
  bool found = mountpoint.empty();
  for (const SlotPtr& slot : sessions_) {
    // What nobody has mounted any more is root's business.
    bool wanted = mountpoint.empty() && caller.uid == 0;
    for (const MountPtr& mount : mounts_) {
      if (mount->session() != slot->session.get()) continue;
      if (caller.uid != 0 && caller.uid != mount->owner()) continue;
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
                       file.inode, file.bytes, static_cast<uint64_t>(age / 1'000'000), file.error});
    }
    --slot->users;
    co_await DropSessionIfUnused(slot);
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
    const auto patience =
        std::chrono::milliseconds(std::max<int64_t>(0, (deadline - MonotonicNs()) / 1'000'000));
    if (!co_await DrainSession(slot, patience, progress)) {
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
  if (!failure.message.empty()) co_return Outcome<Nothing>{std::nullopt, failure};
  co_return Outcome<Nothing>{Nothing{}, {}};
}

}  // namespace airstore::broker
