// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/collector.h"

#include <algorithm>
#include <map>
#include <mutex>

#include "broker/log_event.h"
#include "shm/base/fault.h"
#include "tools/gateway/blocks/block_name.h"
#include "tools/gateway/clock.h"

namespace airstore::gateway {
namespace {

constexpr size_t kRound = 256;  // short transactions: writers wait for them
constexpr size_t kMostRefused = 4096;

// How long a mark is for who has made it.
constexpr int64_t kMostMarkNs = 300ll * 1'000'000'000;
// A deletion that is tried again and again takes less than half of it.
constexpr int64_t kLeastRemoteMarkNs = 90ll * 1'000'000'000;

// What was marked is somebody's block now: the mark was over, and others have collected it, before
// its bytes went. Its row stays: without it nobody would know what is missing. (Rows of a workspace
// that was deleted have no mark either, nor a time.)
bool IsStoredAgain(const BlockRecord& block) {
  return !block.deleting && (block.live_bytes != 0 || block.touched_ns != 0);
}

void ExpectRows(MetadataReader& rows, const std::vector<BlockKey>& keys) {
  std::map<WorkspaceKey, ExpectedRows> expected;
  for (const BlockKey& key : keys) expected[key.workspace].blocks.push_back(key.id);
  for (const auto& [ws, blocks] : expected) rows.Expect(ws, blocks);
}

}  // namespace

int64_t Collector::MarkNs() const {
  const bool is_remote = grace_ns_ != 0 && blocks_.store().is_remote();
  return std::max(std::min(grace_ns_, kMostMarkNs), is_remote ? kLeastRemoteMarkNs : 0);
}

int64_t Collector::MarkedAt(int64_t now_ns) const { return now_ns - grace_ns_ + MarkNs(); }

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
  const int64_t begun_ns = WallClockNs();
  const auto garbage = UntilNoConflict([&] { return MarkGarbage(now_ns, *refused); });
  if (!garbage) return garbage.error();
  if (garbage->keys.empty()) return false;
  Reach(FaultPoint::kGatewayGarbageMarked);
  const auto kept = DeleteMarked(garbage->keys, begun_ns);
  if (!kept) return kept.error();
  if (!kept->empty() && refused->empty()) {
    broker::LogEvent(
        spdlog::level::warn,
        {{"block", ToHex(kept->front().key.id.view())}, {"error", kept->front().why.ToString()}},
        "a block cannot be deleted, and stays: {}", kept->front().why.ToString());
  }
  for (const BlockStore::Kept& one : *kept) refused->insert(one.key);
  *collected += garbage->keys.size() - kept->size();
  for (size_t i = 0; i < garbage->keys.size() && bytes != nullptr; ++i) {
    if (!refused->contains(garbage->keys[i])) *bytes += garbage->sizes[i];
  }
  return !garbage->is_all && refused->size() <= kMostRefused;
}

Result<std::vector<BlockStore::Kept>> Collector::DeleteMarked(const std::vector<BlockKey>& marked,
                                                              int64_t marked_ns) {
  if (grace_ns_ != 0 && WallClockNs() - marked_ns > MarkNs() / 2) {
    return Error{ETIMEDOUT, "marked for so long that another gateway may be at it"};
  }
  auto kept = blocks_.Delete(marked);
  if (!kept) return kept.error();
  Reach(FaultPoint::kGatewayGarbageDeleted);
  Refused refused;
  for (const BlockStore::Kept& one : *kept) refused.insert(one.key);
  AIRSTORE_TRY(UntilNoConflict([&]() -> Result<void> {
    auto writer = store_.Write();
    if (!writer) return writer.error();
    ExpectRows(**writer, marked);
    for (const BlockKey& key : marked) {
      if (refused.contains(key)) continue;
      const auto block = (*writer)->GetBlock(key.workspace, key.id);
      if (block && IsStoredAgain(*block)) {
        broker::LogEvent(spdlog::level::err, {{"block", ToHex(key.id.view())}},
                         "a block was stored again while it was deleted: fsck tells whose it is");
        continue;
      }
      (*writer)->DeleteBlock(key.workspace, key.id);
    }
    return (*writer)->Commit();
  }));
  return kept;
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
    if (!block) continue;
    block->deleting = true;
    block->touched_ns = MarkedAt(now_ns);
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
    const int64_t begun_ns = WallClockNs();
    const auto marked = MarkUnknown(key, now_ns);
    if (!marked) return marked.error();
    if (!*marked) continue;
    const auto kept = DeleteMarked({key}, begun_ns);
    if (!kept) return kept.error();
    if (kept->empty()) ++deleted;
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
    (*writer)->PutBlock(key.workspace, BlockRecord{key.id, 0, 0, 0, MarkedAt(now_ns), true});
    AIRSTORE_TRY((*writer)->Commit());
    return true;
  });
}

Result<void> Collector::StorePut(WorkspaceKey ws, const BlockId& id, std::string_view data,
                                 uint64_t xxh3, bool* gone) {
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
      if (gone != nullptr) *gone = true;
      return Error{ESTALE, "the workspace does not exist any more"};
    }
    BlockRecord block = known.value_or(BlockRecord{id, data.size(), xxh3, 0, 0, false});
    block.touched_ns = WallClockNs();  // the grace period starts anew
    (*writer)->PutBlock(ws, block);
    return (*writer)->Commit();
  });
}

}  // namespace airstore::gateway
