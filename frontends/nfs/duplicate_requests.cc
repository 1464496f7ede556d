// SPDX-License-Identifier: Apache-2.0
#include "frontends/nfs/duplicate_requests.h"

#include <algorithm>
#include <cstring>

namespace airstore::nfs {

DuplicateRequests::Entry* DuplicateRequests::Find(uint64_t unique) {
  const auto found = std::find_if(entries_->begin(), entries_->end(),
                                  [&](const Entry& entry) { return entry.unique == unique; });
  return found == entries_->end() ? nullptr : &*found;
}

bool DuplicateRequests::Begin(uint64_t unique, std::array<char, kReplyBytes>* reply,
                              size_t* bytes) {
  std::unique_lock lock(mutex_);
  for (;;) {
    Entry* entry = Find(unique);
    if (entry == nullptr) break;
    if (entry->done) {
      *bytes = entry->bytes;
      memcpy(reply->data(), entry->reply.data(), entry->bytes);
      return false;
    }
    done_.wait(lock);
  }
  // More calls than entries are never in work at the same time.
  while ((*entries_)[next_].unique != 0 && !(*entries_)[next_].done)
    next_ = (next_ + 1) % kRequests;
  Entry& entry = (*entries_)[next_];
  next_ = (next_ + 1) % kRequests;
  entry.unique = unique;
  entry.done = false;
  return true;
}

void DuplicateRequests::Finish(uint64_t unique, std::span<const char> reply) {
  {
    const std::lock_guard lock(mutex_);
    Entry* entry = Find(unique);
    if (entry == nullptr) return;
    entry->done = true;
    if (reply.size() > kReplyBytes) {
      entry->unique = 0;
    } else {
      entry->bytes = static_cast<uint32_t>(reply.size());
      memcpy(entry->reply.data(), reply.data(), reply.size());
    }
  }
  done_.notify_all();
}

}  // namespace airstore::nfs
