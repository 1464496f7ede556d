// SPDX-License-Identifier: Apache-2.0
//
// What of content outlives a loss of power: files are written out when somebody waits for it, and
// none goes, or is used again, while the journal on the disk may still say that it is needed.
#include <fcntl.h>
#include <unistd.h>

#include "broker/contents.h"

namespace airstore::broker {

Task<Result<void>> Contents::Sync(uint64_t inode, bool data_only) {
  const NodePtr node = Find(inode);
  if (!node || !node->file || !node->file->needed) co_return Result<void>{};
  // Its own descriptor: the file's may be closed meanwhile.
  UniqueFd fd(fcntl(node->file->fd(), F_DUPFD_CLOEXEC, 0));
  if (!fd) co_return SysError("fsync of content file");
  auto write_out = [](UniqueFd file, bool data) -> Task<int> {
    co_return (data ? fdatasync(file.get()) : fsync(file.get())) == 0 ? 0 : errno;
  };
  Task<int> writing = write_out(std::move(fd), data_only);
  const int error = co_await boost::asio::co_spawn(workers_->get_executor(), std::move(writing),
                                                   boost::asio::use_awaitable);
  if (error != 0) co_return SysError("fsync of content file", error);
  co_return Result<void>{};
}

void Contents::KeepUntilSynced(std::function<void()> soon) {
  sync_soon_ = std::move(soon);
  pool_.SetHold([this](const ContentFile& file) {
    if (file.released_lsn <= journal_->journal().synced_lsn()) return false;
    held_.push_back({file.released_lsn, file.slot->path});
    sync_soon_();
    return true;
  });
}

void Contents::RemoveSynced() {
  const uint64_t synced = journal_->journal().synced_lsn();
  std::erase_if(held_, [&](const Held& held) {
    return held.lsn <= synced && (unlink(held.path.c_str()) == 0 || errno == ENOENT);
  });
}

// Were that forgotten, the file would be sent over what others have made of it since.
void Contents::Released(ContentFile* file) {
  file->released_lsn = journal_->journal().next_lsn();
  if (sync_soon_) sync_soon_();
}

}  // namespace airstore::broker
