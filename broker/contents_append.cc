// SPDX-License-Identifier: Apache-2.0
//
// Appends of several mounts to one file: the kernel of each knows only where it has seen the end.
#include "broker/contents.h"

namespace airstore::broker {
namespace {

// For the bytes of an append that was told its place. Longer only when their frontend has died; it
// is made again by the next one, at the same place.
constexpr auto kAppendPatience = std::chrono::seconds(1);

}  // namespace

Task<Result<uint64_t>> Contents::Append(uint64_t inode, uint64_t bytes) {
  for (;;) {
    const NodePtr node = Find(inode);
    const auto record = inodes_->Get(inode);
    if (!node || !record || node->daemon_writers.empty()) {
      co_return Error{EIO, "append to a file that is not open for writing"};
    }
    const auto appending = node->appending;
    if (!appending || appending->expiry() <= std::chrono::steady_clock::now()) {
      node->append_end = record->size + bytes;
      node->appending = std::make_shared<boost::asio::steady_timer>(executor_, kAppendPatience);
      co_return record->size;
    }
    boost::system::error_code ignored;
    co_await appending->async_wait(
        boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
  }
}

void Contents::AppendDone(const NodePtr& node) {
  if (!node->appending) return;
  node->appending->cancel();
  node->appending.reset();
}

}  // namespace airstore::broker
