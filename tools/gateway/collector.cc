// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/collector.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <mutex>

#include "shm/base/fault.h"
#include "tools/gateway/clock.h"

namespace airstore::gateway {
namespace {

constexpr size_t kRound = 256;  // short transactions: writers wait for them
constexpr size_t kMostRefused = 4096;

}  // namespace

Result<size_t> Collector::Collect(int64_t now_ns, uint64_t* bytes) {
  const auto round = Pause();
  size_t total = 0;
  Refused refused;
  while (true) {
    const auto more = CollectSome(now_ns, &refused, &total, bytes);
    if (!more) return more.error();
    if (!*more) return total;
  }
}

Result<bool> Collector::CollectSome(int64_t now_ns, Refused* refused, size_t* collected,
                                    uint64_t* bytes) {
  const auto garbage = UntilNoConflict([&] { return MarkGarbage(now_ns, *refused); });
  if (!garbage) return garbage.error();
  if (garbage->keys.empty()) return false;
  Reach(FaultPoint::kGatewayGarbageMarked);
  const auto kept = blocks_.Delete(garbage->keys);
  if (!kept) return kept.error();
  Reach(FaultPoint::kGatewayGarbageDeleted);
  if (!kept->empty() && refused->empty()) {
    spdlog::warn("a block cannot be deleted, and stays: {}", kept->front().why.ToString());
  }
  for (const BlockStore::Kept& one : *kept) refused->insert(one.key);
  uint64_t gone_bytes = 0;
  size_t gone = 0;
  AIRSTORE_TRY(UntilNoConflict([&]() -> Result<void> {
    auto writer = store_.Write();
    if (!writer) return writer.error();
    gone_bytes = gone = 0;
    for (size_t i = 0; i < garbage->keys.size(); ++i) {
      const BlockKey& key = garbage->keys[i];
      if (refused->contains(key)) continue;
      (*writer)->DeleteBlock(key.workspace, key.id);
      gone_bytes += garbage->sizes[i];
      ++gone;
    }
    return (*writer)->Commit();
  }));
  *collected += gone;
  if (bytes != nullptr) *bytes += gone_bytes;
  return !garbage->is_all && refused->size() <= kMostRefused;
}

Result<Collector::Garbage> Collector::MarkGarbage(int64_t now_ns, const Refused& refused) {
  auto writer = store_.Write();
  if (!writer) return writer.error();
  Garbage garbage;
  // The oldest come first, those that were refused among them.
  const size_t most = kRound + refused.size();
  const auto listed = (*writer)->ListGarbage(now_ns - grace_ns_, most);
  garbage.is_all = listed.size() < most;
  for (const BlockKey& key : listed) {
    if (refused.contains(key)) continue;
    auto block = (*writer)->GetBlock(key.workspace, key.id);
    // Other gateways are at work, too: it may have a reference by now.
    if (block && block->live_bytes != 0) continue;
    garbage.keys.push_back(key);
    garbage.sizes.push_back(block ? block->size : 0);
    if (!block || block->deleting) continue;
    block->deleting = true;
    (*writer)->PutBlock(key.workspace, *block);
  }
  AIRSTORE_TRY((*writer)->status());
  if (garbage.keys.empty()) return garbage;
  AIRSTORE_TRY((*writer)->Commit());
  return garbage;
}

Result<size_t> Collector::Scrub(int64_t now_ns, int64_t min_age_ns) {
  const auto round = Pause();
  std::vector<BlockKey> old;
  AIRSTORE_TRY(
      blocks_.store().List(now_ns - min_age_ns, [&](const BlockKey& key) { old.push_back(key); }));
  size_t deleted = 0;
  for (const BlockKey& key : old) {
    std::unique_lock storing(storing_mu_);
    auto reader = store_.Read();
    if (!reader) return reader.error();
    const bool has_row = (*reader)->GetBlock(key.workspace, key.id).has_value();
    AIRSTORE_TRY((*reader)->status());
    if (has_row) continue;
    const auto kept = blocks_.Delete({&key, 1});
    if (!kept) return kept.error();
    if (kept->empty()) ++deleted;
  }
  return deleted;
}

Result<void> Collector::StorePut(WorkspaceKey ws, const BlockId& id, std::string_view data,
                                 uint64_t xxh3) {
  std::shared_lock storing(storing_mu_);
  bool stored = false;
  {
    auto reader = store_.Read();
    if (!reader) return reader.error();
    const auto known = (*reader)->GetBlock(ws, id);
    AIRSTORE_TRY((*reader)->status());
    if (known && known->deleting) return Error{EAGAIN, "block is being collected"};
    if (known && (known->xxh3 != xxh3 || known->size != data.size())) {
      return Error{EEXIST, "another block has this id"};
    }
    stored = known.has_value();
  }
  if (!stored) AIRSTORE_TRY(blocks_.Put({ws, id}, data, xxh3));

  return UntilNoConflict([&]() -> Result<void> {
    auto writer = store_.Write();
    if (!writer) return writer.error();
    auto known = (*writer)->GetBlock(ws, id);
    if (known && known->deleting) return Error{EAGAIN, "block is being collected"};
    if (stored && !known) return Error{EAGAIN, "block was collected"};
    if (known && known->xxh3 != xxh3) return Error{EEXIST, "another block has this id"};
    BlockRecord block = known.value_or(BlockRecord{id, data.size(), xxh3, 0, 0, false});
    block.touched_ns = WallClockNs();  // the grace period starts anew
    (*writer)->PutBlock(ws, block);
    return (*writer)->Commit();
  });
}

}  // namespace airstore::gateway
