// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/collector.h"

#include <algorithm>
#include <mutex>

#include "shm/base/fault.h"
#include "tools/gateway/clock.h"

namespace airstore::gateway {
namespace {

constexpr size_t kRound = 256;  // short transactions: writers wait for them

}  // namespace

Result<size_t> Collector::Collect(int64_t now_ns, uint64_t* bytes) {
  const auto round = Pause();
  size_t total = 0;
  while (true) {
    auto some = CollectSome(now_ns, bytes);
    if (!some) return some.error();
    total += *some;
    if (*some < kRound) return total;
  }
}

Result<size_t> Collector::CollectSome(int64_t now_ns, uint64_t* bytes) {
  std::vector<BlockKey> garbage;
  uint64_t found = 0;
  AIRSTORE_TRY(UntilNoConflict([&] { return MarkGarbage(now_ns, &garbage, &found); }));
  if (garbage.empty()) return size_t{0};
  Reach(FaultPoint::kGatewayGarbageMarked);
  AIRSTORE_TRY(blocks_.Delete(garbage));
  Reach(FaultPoint::kGatewayGarbageDeleted);
  AIRSTORE_TRY(UntilNoConflict([&]() -> Result<void> {
    auto writer = store_.Write();
    if (!writer) return writer.error();
    for (const BlockKey& key : garbage) (*writer)->DeleteBlock(key.workspace, key.id);
    return (*writer)->Commit();
  }));
  if (bytes != nullptr) *bytes += found;
  return garbage.size();
}

Result<void> Collector::MarkGarbage(int64_t now_ns, std::vector<BlockKey>* garbage,
                                    uint64_t* bytes) {
  auto writer = store_.Write();
  if (!writer) return writer.error();
  garbage->clear();
  *bytes = 0;
  const auto listed = (*writer)->ListGarbage(now_ns - grace_ns_, kRound);
  for (const BlockKey& key : listed) {
    auto block = (*writer)->GetBlock(key.workspace, key.id);
    // Other gateways are at work, too: it may have a reference by now.
    if (block && block->live_bytes != 0) continue;
    garbage->push_back(key);
    if (block) *bytes += block->size;
    if (!block || block->deleting) continue;
    block->deleting = true;
    (*writer)->PutBlock(key.workspace, *block);
  }
  AIRSTORE_TRY((*writer)->status());
  if (garbage->empty()) return {};
  return (*writer)->Commit();
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
    AIRSTORE_TRY(blocks_.Delete({&key, 1}));
    ++deleted;
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
