// SPDX-License-Identifier: Apache-2.0
//
// Content that the gateway refuses for good. It goes to lost+found, and counts as settled then:
// while the file is open, its users go on with what they wrote, and another change, or an fsync,
// sends all of it once more; when nobody has it open any more, it is what the gateway has.
#include <spdlog/spdlog.h>

#include "broker/backoff.h"
#include "broker/contents.h"

namespace airstore::broker {

Task<void> Contents::NotMoving(uint64_t inode) {
  for (NodePtr node = Find(inode); node && node->moving; node = Find(inode)) {
    co_await node->progress->Wait();
  }
}

Task<void> Contents::Retry(uint64_t inode) {
  NodePtr node = Find(inode);
  while (node && node->keeping) {
    co_await node->progress->Wait();
    node = Find(inode);
  }
  if (node && node->file) node->file->refused = false;
}

void Contents::DropRefused(const NodePtr& node) {
  NoteClean(node);
  inodes_->MarkStale(node->inode);
  DropFile(node);
}

// The inode may go meanwhile, and this be all that is left of it.
Task<void> Contents::Refused(NodePtr node, std::shared_ptr<ContentFile> file, int error) {
  Backoff backoff;
  while (!stopped_) {
    RefusedContent content;
    content.inode = node->inode;
    content.error = error;
    content.path = file->slot->path;
    content.kept_as = file->kept_as;
    const bool unused = node->opens() == 0 && node->opening == 0 && !node->passthrough_used;
    content.move = node->moving = unused && !file->given_away;
    auto stamp = file->Stamp();
    content.size = stamp ? stamp->size : 0;
    ++node->sending;
    auto kept = co_await keep_refused_(content);
    --node->sending;
    node->moving = false;
    node->progress->NotifyAll();
    if (kept) {
      // A second name is a change to the kernel.
      if (auto now = file->Stamp(); now && stamp && content.move && now->size == stamp->size &&
                                    now->mtime_ns == stamp->mtime_ns) {
        stamp = now;
      }
      file->kept_as = *kept;
      file->refused = true;
      file->given_away = file->given_away || content.move;
      if (stamp) {
        file->sent = *stamp;
        file->settled_bytes = stamp->allocated_bytes;
      }
      break;
    }
    spdlog::error("keeping what was refused of inode {}: {}", node->inode, kept.error().ToString());
    if (node->file != file) break;
    co_await backoff.Wait(executor_);
  }
  node->keeping = false;
  node->progress->NotifyAll();
  if (node->file != file) co_return;
  Charge(node);
  if (IsDirty(*node)) log_->AppendContent(node->inode);  // changed meanwhile
  if (node->opens() == 0) Closed(node);
}

}  // namespace airstore::broker
