// SPDX-License-Identifier: Apache-2.0
#include "frontends/fuse/early_answers.h"

#include <unistd.h>

#include <cerrno>

#include "frontends/fuse/kernel_abi.h"

namespace airstore::fuse {

EarlyAnswers::~EarlyAnswers() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void EarlyAnswers::OnInterrupt(uint64_t unique) {
  const volume::Volume::News news = volume_.OnInterrupt(unique & ~abi::kUniqueResent);
  const std::lock_guard lock(mutex_);
  interrupted_.push_back({unique, news});
  if (!thread_.joinable()) thread_ = std::thread([this] { Run(); });
  changed_.notify_all();
}

void EarlyAnswers::Run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return ending_ || !interrupted_.empty(); });
    if (ending_) return;
    const Interrupted next = interrupted_.front();
    interrupted_.pop_front();
    lock.unlock();
    if (!volume_.AwaitTaken(next.news)) Answer(next.unique);
    lock.lock();
  }
}

// Not through libfuse, which frees a request with its answer. ENOENT: it has one already.
void EarlyAnswers::Answer(uint64_t unique) const {
  const abi::OutHeader header{sizeof(abi::OutHeader), -EINTR, unique};
  [[maybe_unused]] const ssize_t sent = write(device_, &header, sizeof(header));
}

}  // namespace airstore::fuse
