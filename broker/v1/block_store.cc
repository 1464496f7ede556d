// SPDX-License-Identifier: Apache-2.0
#include "broker/v1/block_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace airstore::broker::v1 {

Result<void> BlockStore::Put(const BlockId& id, const std::string& data) {
  if (!file_) file_.reset(open(directory_.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!file_) return SysError("keep a block in " + directory_);
  size_t done = 0;
  while (done < data.size()) {
    const ssize_t written = pwrite(file_.get(), data.data() + done, data.size() - done,
                                   static_cast<off_t>(end_ + done));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return SysError("keep a block", written < 0 ? errno : ENOSPC);
    done += static_cast<size_t>(written);
  }
  places_[id.bytes] = Place{end_, data.size()};
  end_ += data.size();
  return {};
}

Result<std::string> BlockStore::Get(const BlockId& id, uint64_t offset, uint64_t length) const {
  const auto found = places_.find(id.bytes);
  if (found == places_.end() || offset > found->second.length ||
      length > found->second.length - offset) {
    return Error{EIO, "a block that is not here"};
  }
  std::string data(length, '\0');
  size_t done = 0;
  while (done < length) {
    const ssize_t got = pread(file_.get(), data.data() + done, length - done,
                              static_cast<off_t>(found->second.offset + offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return SysError("read a block", got < 0 ? errno : EIO);
    done += static_cast<size_t>(got);
  }
  return data;
}

void BlockStore::Drop(const BlockId& id) {
  const auto found = places_.find(id.bytes);
  if (found == places_.end()) return;
  const Place place = found->second;
  places_.erase(found);
  if (places_.empty()) {
    end_ = 0;
    if (ftruncate(file_.get(), 0) == 0) return;
  }
  (void)fallocate(file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  static_cast<off_t>(place.offset), static_cast<off_t>(place.length));
}

}  // namespace airstore::broker::v1
