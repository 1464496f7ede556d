// SPDX-License-Identifier: Apache-2.0
#include "frontends/nfs/open_writers.h"

#include <fcntl.h>

#include <algorithm>
#include <vector>

#include "frontends/volume/stopwatch.h"

namespace airstore::nfs {
namespace {

uint64_t NowNs() { return volume::ClockNs(CLOCK_MONOTONIC); }

}  // namespace

int OpenWriters::Use(volume::Request& request, uint64_t inode) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = writers_.find(inode);
    if (found != writers_.end()) {
      ++found->second.users;
      return 0;
    }
  }
  volume::Opened opened;
  if (const int error = volume_.Open(request, inode, O_WRONLY, &opened); error != 0) return error;
  Add(request, inode, opened.handle);
  return 0;
}

void OpenWriters::Add(volume::Request& request, uint64_t inode, volume::OpenHandle handle) {
  bool fresh = false;
  bool full = false;
  {
    const std::lock_guard lock(mutex_);
    auto [at, inserted] = writers_.try_emplace(inode);
    ++at->second.users;
    fresh = inserted;
    if (fresh) at->second.handle = handle;
    full = writers_.size() > kLimit;
  }
  if (!fresh) volume_.Release(request, inode, handle);  // another thread was faster
  if (full) CloseSome(request);
}

void OpenWriters::Done(volume::Request& request, uint64_t inode, bool close) {
  volume::OpenHandle handle;
  {
    const std::lock_guard lock(mutex_);
    const auto found = writers_.find(inode);
    if (found == writers_.end()) return;
    found->second.used_ns = NowNs();
    if (--found->second.users != 0 || !close) return;
    handle = found->second.handle;
    writers_.erase(found);
  }
  volume_.Release(request, inode, handle);
}

void OpenWriters::Close(volume::Request& request, uint64_t inode) {
  volume::OpenHandle handle;
  {
    const std::lock_guard lock(mutex_);
    const auto found = writers_.find(inode);
    if (found == writers_.end() || found->second.users != 0) return;
    handle = found->second.handle;
    writers_.erase(found);
  }
  volume_.Release(request, inode, handle);
}

bool OpenWriters::CloseIdle(volume::Request& request) {
  CloseSome(request);
  const std::lock_guard lock(mutex_);
  return !writers_.empty();
}

void OpenWriters::CloseSome(volume::Request& request) {
  std::vector<std::pair<uint64_t, volume::OpenHandle>> closed;
  {
    const std::lock_guard lock(mutex_);
    const uint64_t now = NowNs();
    for (auto at = writers_.begin(); at != writers_.end();) {
      const Writer& writer = at->second;
      if (writer.users == 0 && now - writer.used_ns >= kIdleNs) {
        closed.emplace_back(at->first, writer.handle);
        at = writers_.erase(at);
      } else {
        ++at;
      }
    }
    while (writers_.size() > kLimit) {
      auto oldest = writers_.end();
      for (auto at = writers_.begin(); at != writers_.end(); ++at) {
        if (at->second.users != 0) continue;
        if (oldest == writers_.end() || at->second.used_ns < oldest->second.used_ns) oldest = at;
      }
      if (oldest == writers_.end()) break;
      closed.emplace_back(oldest->first, oldest->second.handle);
      writers_.erase(oldest);
    }
  }
  for (const auto& [inode, handle] : closed) volume_.Release(request, inode, handle);
}

}  // namespace airstore::nfs
