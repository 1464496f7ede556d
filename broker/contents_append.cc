// SPDX-License-Identifier: Apache-2.0
//
// Appends of several mounts to one file: the kernel of each knows only where it has seen the end.
#include "broker/contents.h"

#include <algorithm>

namespace airstore::broker {
namespace {

// Then it is asked whether the bytes of an append still come. They do while its request is in work:
// they may wait for room, and when the frontend has died the next one brings them to the same
// place.
constexpr auto kAppendPatience = std::chrono::seconds(1);
// Of a frontend that somebody has stopped. Its bytes still have their place; others go behind it.
constexpr auto kMostAppendPatience = std::chrono::seconds(10);

}  // namespace

Task<Result<uint64_t>> Contents::Append(AppendCall call, uint64_t inode, uint64_t bytes) {
  for (;;) {
    Refresh(inode);
    const NodePtr node = Find(inode);
    const auto record = inodes_->Get(inode);
    if (!node || !record || node->writers() == 0) {
      co_return Error{EIO, "append to a file that is not open for writing"};
    }
    const auto appending = node->appending;
    if (appending && appending->expiry() <= std::chrono::steady_clock::now()) {
      const AppendCall& earlier = node->append_call;
      const MountPort* mount = mounts_->Find(earlier.mount);
      const bool comes = mount != nullptr && mount->InWork(earlier.slot, earlier.position);
      if (comes && std::chrono::steady_clock::now() - node->append_since > kMostAppendPatience) {
        const uint64_t end = std::max(record->size, node->append_end);
        AppendDone(node);
        Reserve(node, call, end + bytes);
        co_return end;
      }
      if (comes) {
        appending->expires_after(kAppendPatience);
      } else {
        AppendDone(node);
      }
      continue;
    }
    if (!appending) {
      Reserve(node, call, record->size + bytes);
      co_return record->size;
    }
    boost::system::error_code ignored;
    co_await appending->async_wait(
        boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
  }
}

void Contents::Reserve(const NodePtr& node, const AppendCall& call, uint64_t end) {
  node->append_call = call;
  node->append_end = end;
  node->append_since = std::chrono::steady_clock::now();
  node->appending = std::make_shared<boost::asio::steady_timer>(executor_, kAppendPatience);
}

void Contents::AdoptAppend(const AppendCall& call, uint64_t inode, uint64_t end) {
  const NodePtr node = Find(inode);
  const auto record = inodes_->Get(inode);
  if (node && record && record->size < end) Reserve(node, call, end);
}

void Contents::ForgetAppend(const AppendCall& call, uint64_t inode) {
  const NodePtr node = Find(inode);
  if (node && node->appending && node->append_call == call) AppendDone(node);
}

void Contents::AppendDone(const NodePtr& node) {
  if (!node->appending) return;
  node->appending->cancel();
  node->appending.reset();
}

}  // namespace airstore::broker
