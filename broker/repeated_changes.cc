// SPDX-License-Identifier: Apache-2.0
#include "broker/repeated_changes.h"

#include <cerrno>

#include "broker/calls.h"
#include "broker/clock.h"

namespace airstore::broker {
namespace {

// Linux asks again after 5 seconds, and has more to do when the server was away.
constexpr int64_t kAskedAgainNs = 60'000'000'000;

}  // namespace

RepeatedChanges::RepeatedChanges(boost::asio::any_io_executor executor, int64_t patience_ns)
    : executor_(executor), patience_ns_(patience_ns) {}

std::string RepeatedChanges::KeyOf(const shm::Call& call) {
  shm::RequestArgs args = call.args;
  args.unique = 0;
  args.pid = 0;
  std::string key(reinterpret_cast<const char*>(&args), sizeof(args));
  key += call.name;
  key += '\0';
  key += call.name2;
  return key;
}

void RepeatedChanges::ForgetOld(int64_t now_ns) {
  std::erase_if(changes_, [now_ns](const auto& entry) {
    const Change& change = *entry.second;
    return change.ended_ns != 0 && now_ns - change.ended_ns > kAskedAgainNs;
  });
}

Task<RepeatedChanges::ChangePtr> RepeatedChanges::Begin(shm::Call call, bool* first) {
  *first = true;
  if (!ChangesNames(call)) co_return nullptr;
  const int64_t now_ns = MonotonicNs();
  ForgetOld(now_ns);
  const auto [entry, made] = changes_.try_emplace(KeyOf(call));
  if (made) {
    entry->second = std::make_shared<Change>(executor_);
    entry->second->begun_ns = now_ns;
    co_return entry->second;
  }
  const ChangePtr change = entry->second;
  if (now_ns - change->begun_ns < patience_ns_) co_return nullptr;
  *first = false;
  while (change->ended_ns == 0) co_await change->ended_event.Wait();
  co_return change;
}

void RepeatedChanges::End(const shm::Call& call, const ChangePtr& change, int error,
                          bool answered) {
  const bool unknown = error == ETIMEDOUT || error == EAGAIN;
  if (change->ended_ns == 0) {
    change->ended_ns = MonotonicNs();
    change->error = unknown ? 0 : error;
    change->ended_event.NotifyAll();
  }
  if (change->executed && (unknown || !answered)) return;
  const auto entry = changes_.find(KeyOf(call));
  if (entry != changes_.end() && entry->second == change) changes_.erase(entry);
}

}  // namespace airstore::broker
