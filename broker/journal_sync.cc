// SPDX-License-Identifier: Apache-2.0
#include "broker/journal_sync.h"

#include <fcntl.h>
#include <unistd.h>

namespace airstore::broker {

Task<Result<void>> JournalSync::Sync() {
  const uint64_t wanted = journal_->next_lsn();
  while (synced_ < wanted) {
    if (failed_ != 0) co_return SysError("write out the journal", failed_);
    if (running_) {
      co_await done_.Wait();
      continue;
    }
    running_ = true;
    ++rounds_;
    const uint64_t until = journal_->next_lsn();
    auto write_out = [](std::vector<UniqueFd> files) -> Task<int> {
      for (const UniqueFd& file : files) {
        if (!file) co_return EMFILE;
        if (fdatasync(file.get()) != 0) co_return errno;
      }
      co_return 0;
    };
    std::vector<UniqueFd> files = journal_->Unsynced();
    if (!directory_.empty()) {
      files.emplace_back(open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    }
    const int error = co_await boost::asio::co_spawn(
        workers_->get_executor(), write_out(std::move(files)), boost::asio::use_awaitable);
    running_ = false;
    if (error == 0) {
      synced_ = until;
      journal_->Synced(until);
    } else if (error != EMFILE) {
      failed_ = error;
    }
    done_.NotifyAll();
    if (error != 0) co_return SysError("write out the journal", error);
  }
  co_return Result<void>{};
}

}  // namespace airstore::broker
