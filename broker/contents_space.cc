// SPDX-License-Identifier: Apache-2.0
//
// The disk space of content files: what of it is unsent, how writes of the kernel, which nobody
// sees, are kept within the spool's limit, and what can be given up.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "broker/contents.h"

namespace airstore::broker {
namespace {

constexpr size_t kSealers = 4;  // threads, once the spool has been full

}  // namespace

// What a file takes beyond what it took when the gateway had all of it: what is overwritten in
// place takes no more. A file that is being completed holds nothing of ours.
uint64_t Contents::Charge(const NodePtr& node) {
  uint64_t bytes = 0;
  uint64_t allocated = 0;
  if (node->file && node->file->complete) {
    const auto stamp = node->file->Stamp();
    if (!stamp) return 0;
    allocated = stamp->allocated_bytes;
    const uint64_t settled = node->file->settled_bytes;
    bytes = allocated > settled ? allocated - settled : 0;
  }
  if (bytes != node->charged) {
    unsent_.Set(unsent_.bytes() - node->charged + bytes);
    node->charged = bytes;
  }
  return allocated;
}

void Contents::LoseFile(const NodePtr& node) {
  sealed_.erase(node->inode);
  node->file.reset();
  Charge(node);
}

std::chrono::nanoseconds Contents::LookEvery() const {
  const std::chrono::nanoseconds debounce(options_.debounce_ns);
  const bool kernel = std::any_of(watched_.begin(), watched_.end(), [this](uint64_t inode) {
    const NodePtr node = Find(inode);
    return node && node->file && node->passthrough_used &&
           !(node->file->seal && node->file->seal->sealed());
  });
  return kernel ? std::min(debounce, options_.budget->look_every()) : debounce;
}

void Contents::LookAtKernelWrites() {
  for (const uint64_t inode : watched_) {
    const NodePtr node = Find(inode);
    if (!node || !node->file) continue;
    // While ext4 writes back what it had only reserved it counts those blocks as neither, for a
    // moment: what is more than at one look before may have been there all the time.
    node->charged_before =
        std::max(node->charged, std::exchange(node->charged_once, node->charged));
    Charge(node);
  }
  options_.budget->Look();
  if (options_.budget->sealing()) {
    SealGrowing();
  } else if (!sealed_.empty() && options_.budget->unsealing()) {
    for (const uint64_t inode : std::vector<uint64_t>(sealed_.begin(), sealed_.end())) {
      const NodePtr node = Find(inode);
      // One that is being written to the disk is waited for at a later look.
      if (node && node->file && node->file->seal && !node->file->seal->idle()) continue;
      if (node) Unseal(node);
      sealed_.erase(inode);
    }
    if (sealed_.empty()) spdlog::info("the spool has room again: all files may be written");
  }
}

// What is only written in place, as many maps are, takes no room and is left alone: a seal would
// be a SIGBUS to a program that stores into a map.
void Contents::SealGrowing() {
  for (const uint64_t inode : watched_) {
    const NodePtr node = Find(inode);
    if (!node || !node->file || !node->passthrough_used || node->file->seal ||
        node->charged <= node->charged_before) {
      continue;
    }
    if (!sealers_) sealers_.emplace(kSealers);
    tasks_->Spawn(Seal(node, ContentPool::Seal(node->file.get())));
    sealed_.insert(inode);
  }
}

// Not on the event loop: it takes as long as the disk needs for the file.
Task<void> Contents::Seal(NodePtr node, std::shared_ptr<PendingSeal> seal) {
  auto run = [](std::shared_ptr<PendingSeal> what) -> Task<bool> { co_return what->Run(); };
  Task<bool> running = run(seal);
  const bool done = co_await boost::asio::co_spawn(sealers_->get_executor(), std::move(running),
                                                   boost::asio::use_awaitable);
  node->progress->NotifyAll();
  if (!node->file || node->file->seal != seal) co_return;
  const std::string& path = node->file->slot->path;
  if (done) {
    spdlog::warn("the spool is nearly full: {}, which the kernel writes into, is sealed", path);
  } else {
    spdlog::warn("{} cannot be sealed: the spool's limit may be exceeded", path);
  }
}

void Contents::EndSeals() {
  if (!sealers_) return;
  sealers_->stop();
  sealers_->join();
}

void Contents::Unseal(const NodePtr& node) {
  if (!node->file || !node->file->seal) return;
  pool_.Unseal(node->file.get());
  sealed_.erase(node->inode);
}

// For who may wait: the file system holds the file for as long as the seal takes.
Task<void> Contents::AwaitUnsealed(NodePtr node) {
  while (node->file && node->file->seal && !node->file->seal->TryCallOff()) {
    co_await node->progress->Wait();
  }
  Unseal(node);
}

Task<void> Contents::AwaitUnsealed(uint64_t inode) {
  if (const NodePtr node = Find(inode)) co_await AwaitUnsealed(node);
}

bool Contents::EvictOne(uint64_t inode) {
  const NodePtr node = Find(inode);
  if (!node || !node->file || !MayLetGo(node)) return false;
  LetGo(node);
  return true;
}

// To give up a file changes the account, and that may ask for more to be given up.
uint64_t Contents::EvictBytes(uint64_t bytes, size_t most_tries) {
  if (std::exchange(evicting_, true)) return 0;
  uint64_t gained = 0;
  size_t tries = 0;
  for (size_t left = lru_.size(); left != 0 && gained < bytes && tries < most_tries; --left) {
    if (lru_hand_ == lru_.end()) lru_hand_ = lru_.begin();
    if (lru_hand_ == lru_.end()) break;
    const uint64_t inode = *lru_hand_++;
    const NodePtr node = Find(inode);
    const uint64_t size = node ? node->lru_bytes : 0;
    if (EvictOne(inode)) {
      gained += size;
    } else {
      ++tries;
    }
  }
  evicting_ = false;
  return gained;
}

// For a write that was accepted.
bool Contents::MakeRoom(uint64_t bytes) {
  if (EvictBytes(bytes) != 0) return true;
  return options_.budget->UseReserve(bytes);
}

}  // namespace airstore::broker
