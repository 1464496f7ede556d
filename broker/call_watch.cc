// SPDX-License-Identifier: Apache-2.0
#include "broker/call_watch.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <sstream>
#include <string>

#include "broker/clock.h"
#include "shm/base/fd.h"

namespace airstore::broker {
namespace {

constexpr auto kLookEvery = std::chrono::milliseconds(100);
constexpr int64_t kLongNs = 100'000'000;  // calls younger than this are not looked at

// Of /proc/TID/stat, counted from the state, which is the first behind the name; see proc(5).
constexpr size_t kFlagsField = 6;
constexpr size_t kExitCodeField = 49;
constexpr uint64_t kExiting = 0x4;      // PF_EXITING
constexpr uint64_t kSignalMask = 0x7f;  // of an exit code: the signal that has killed

// Nothing, with an errno, when it cannot be read.
std::string ReadProc(uint32_t tid, const char* name) {
  std::string text;
  const UniqueFd file(
      open(("/proc/" + std::to_string(tid) + "/" + name).c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return text;
  text.resize(4096);
  const ssize_t got = read(file.get(), text.data(), text.size());
  text.resize(got > 0 ? static_cast<size_t>(got) : 0);
  return text;
}

// Such a thread has no signal pending any more, and closes its files.
bool WasKilled(uint32_t tid) {
  const std::string stat = ReadProc(tid, "stat");
  const size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return false;
  std::istringstream fields(stat.substr(name_end + 1));
  std::string field;
  uint64_t flags = 0;
  for (size_t i = 0; fields >> field; ++i) {
    if (i == kFlagsField) flags = strtoull(field.c_str(), nullptr, 10);
    if (i != kExitCodeField) continue;
    return (flags & kExiting) != 0 && (strtoull(field.c_str(), nullptr, 10) & kSignalMask) != 0;
  }
  return false;
}

}  // namespace

bool IsBeingKilled(uint32_t tid) {
  errno = 0;
  const std::string status = ReadProc(tid, "status");
  if (status.empty()) return errno == ENOENT || errno == ESRCH;  // gone; others say nothing
  // A fatal signal becomes a SIGKILL pending on each thread.
  for (const std::string_view key : {"SigPnd:\t", "ShdPnd:\t"}) {
    const size_t at = status.find(key);
    if (at == std::string::npos) continue;
    const std::string mask = status.substr(at + key.size(), 16);
    if ((strtoull(mask.c_str(), nullptr, 16) >> (SIGKILL - 1) & 1) != 0) return true;
  }
  return WasKilled(tid);
}

CallWatch::CallWatch(boost::asio::any_io_executor executor, int64_t limit_ns, GiveUp give_up)
    : executor_(executor), limit_ns_(limit_ns), give_up_(std::move(give_up)) {}

uint64_t CallWatch::Begin(uint32_t slot, uint32_t pid, Tasks* tasks) {
  const uint64_t call = next_++;
  calls_.emplace(call, Entry{slot, pid, MonotonicNs(), false});
  if (!looking_) {
    looking_ = true;
    tasks->Spawn(Look());
  }
  return call;
}

bool CallWatch::End(uint64_t call) {
  const auto found = calls_.find(call);
  const bool wanted = !found->second.given_up;
  calls_.erase(found);
  return wanted;
}

Task<void> CallWatch::Look() {
  const auto self = shared_from_this();
  boost::asio::steady_timer timer(executor_);
  while (!calls_.empty()) {
    timer.expires_after(kLookEvery);
    co_await timer.async_wait(boost::asio::use_awaitable);
    const int64_t now = MonotonicNs();
    for (auto& [call, entry] : calls_) {
      if (entry.given_up || now - entry.begun_ns < kLongNs) continue;
      int error = 0;
      if (now - entry.begun_ns > limit_ns_) error = ETIMEDOUT;
      if (entry.pid != 0 && IsBeingKilled(entry.pid)) error = EINTR;
      if (error == 0) continue;
      entry.given_up = true;
      give_up_(entry.slot, error);
    }
  }
  looking_ = false;
}

}  // namespace airstore::broker
