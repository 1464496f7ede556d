// SPDX-License-Identifier: Apache-2.0
#include "frontends/fuse/early_answers.h"

#include <unistd.h>

#include <cerrno>

#include "frontends/fuse/kernel_abi.h"

namespace airstore::fuse {

void EarlyAnswers::OnInterrupt(uint64_t unique) {
  const std::lock_guard lock(mutex_);
  if (unattended_) return Answer(unique);
  interrupted_[next_++ % interrupted_.size()] = unique;
}

void EarlyAnswers::SetUnattended(bool unattended) {
  const std::lock_guard lock(mutex_);
  unattended_ = unattended;
  if (!unattended) return;
  for (uint64_t& unique : interrupted_) {
    if (unique != 0) Answer(unique);
    unique = 0;
  }
}

// Not through libfuse, which frees a request with its answer. ENOENT: it has one already.
void EarlyAnswers::Answer(uint64_t unique) const {
  const abi::OutHeader header{sizeof(abi::OutHeader), -EINTR, unique};
  [[maybe_unused]] const ssize_t sent = write(device_, &header, sizeof(header));
}

}  // namespace airstore::fuse
