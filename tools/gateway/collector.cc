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
  const int64_t begun_ns = WallClockNs();
  AIRSTORE_TRY(UntilNoConflict([&] { return MarkGarbage(now_ns, &garbage, &found); }));
  if (garbage.empty()) return size_t{0};
  Reach(FaultPoint::kGatewayGarbageMarked);
  AIRSTORE_TRY(DeleteMarked(garbage, begun_ns));
  if (bytes != nullptr) *bytes += found;
  return garbage.size();
}

Result<void> Collector::DeleteMarked(const std::vector<BlockKey>& marked, int64_t marked_ns) {
  if (grace_ns_ != 0 && WallClockNs() - marked_ns > grace_ns_ / 2) {
    return Error{ETIMEDOUT, "marked for so long that another gateway may be at it"};
  }
  AIRSTORE_TRY(blocks_.Delete(marked));
  Reach(FaultPoint::kGatewayGarbageDeleted);
  return UntilNoConflict([&]() -> Result<void> {
    auto writer = store_.Write();
    if (!writer) return writer.error();
    for (const BlockKey& key : marked) (*writer)->DeleteBlock(key.workspace, key.id);
    return (*writer)->Commit();
  });
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
    if (!block) continue;
    block->deleting = true;
    block->touched_ns = now_ns;
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
    const int64_t begun_ns = WallClockNs();
    const auto marked = MarkUnknown(key, now_ns);
    if (!marked) return marked.error();
    if (!*marked) continue;
    AIRSTORE_TRY(DeleteMarked({key}, begun_ns));
    ++deleted;
  }
  return deleted;
}

Result<bool> Collector::MarkUnknown(const BlockKey& key, int64_t now_ns) {
  return UntilNoConflict([&]() -> Result<bool> {
    {
      auto reader = store_.Read();
      if (!reader) return reader.error();
      const bool known = (*reader)->GetBlock(key.workspace, key.id).has_value();
      AIRSTORE_TRY((*reader)->status());
      if (known) return false;
    }
    auto writer = store_.Write();
    if (!writer) return writer.error();
    const bool known = (*writer)->GetBlock(key.workspace, key.id).has_value();
    // In one that was deleted nobody stores anything any more.
    const bool lives = (*writer)->GetWorkspace(key.workspace).has_value();
    AIRSTORE_TRY((*writer)->status());
    if (known || !lives) return !known;
    (*writer)->PutBlock(key.workspace, BlockRecord{key.id, 0, 0, 0, now_ns, true});
    AIRSTORE_TRY((*writer)->Commit());
    return true;
  });
}

Result<void> Collector::StorePut(WorkspaceKey ws, const BlockId& id, std::string_view data,
                                 uint64_t xxh3) {
  const int64_t begun_ns = WallClockNs();
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
    if (WallClockNs() - begun_ns > kMostStoringNs) return Error{EAGAIN, "storing took too long"};
    // Of one that was deleted nobody would find the row.
    if (!(*writer)->GetWorkspace(ws)) {
      AIRSTORE_TRY((*writer)->status());
      return Error{ESTALE, "the workspace does not exist any more"};
    }
    BlockRecord block = known.value_or(BlockRecord{id, data.size(), xxh3, 0, 0, false});
    block.touched_ns = WallClockNs();  // the grace period starts anew
    (*writer)->PutBlock(ws, block);
    return (*writer)->Commit();
  });
}

}  // namespace airstore::gateway
