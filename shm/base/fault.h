// SPDX-License-Identifier: Apache-2.0
//
// Fault points: named places where a test may have this process killed, stopped, delayed, or given
// an error. They are always compiled in, and cost a load and a branch each until the environment of
// the process says AIRSTORE_FAULT=PATH: the file of a FaultBoard, which the test has made, and in
// which it arms points and reads how often each was reached, also while the process runs.
//
// Threads: any, in any process that has the board mapped.
// Fails: a board that cannot be used ends the process at its start; no test is to pass for that.
#pragma once

#include <atomic>
#include <cstdint>

namespace airstore {

// The only list of them: X(enumerator, name). What stands before the dot says which process gets
// there: "frontend", "gateway"; everything else is the broker.
// clang-format off
#define AIRSTORE_FAULT_POINTS(X)                              \
  /* The journal: a record, a new segment, a rewrite. */      \
  X(kJournalBeforeAppend, "journal.before_append")            \
  X(kJournalAfterAppend, "journal.after_append")              \
  X(kJournalSegmentNamed, "journal.segment_named")            \
  X(kJournalRewriteUnended, "journal.rewrite_unended")        \
  X(kJournalRewritten, "journal.rewritten")                   \
  /* A batch on its way to the gateway. */                    \
  X(kLogBeforeNumber, "log.before_number")                    \
  X(kLogAfterNumber, "log.after_number")                      \
  X(kRpcSent, "rpc.sent")                                     \
  X(kLogBatchAnswered, "log.batch_answered")                  \
  X(kLogBeforeSettle, "log.before_settle")                    \
  X(kLogAfterSettle, "log.after_settle")                      \
  X(kLogBlockStored, "log.block_stored")                      \
  /* Where content lies, and whether it is to be sent. */     \
  X(kContentBeforeAttach, "content.before_attach")            \
  X(kContentAfterAttach, "content.after_attach")              \
  X(kContentAfterDirty, "content.after_dirty")                \
  X(kContentBeforeClean, "content.before_clean")              \
  X(kContentAfterClean, "content.after_clean")                \
  X(kContentToSlab, "content.to_slab")                        \
  X(kContentFromSlab, "content.from_slab")                    \
  X(kContentBeforeTruncate, "content.before_truncate")        \
  X(kContentAfterTruncate, "content.after_truncate")          \
  X(kContentBeforeWrite, "content.before_write")              \
  X(kContentAfterWrite, "content.after_write")                \
  X(kContentLeased, "content.leased")                         \
  X(kContentCopying, "content.copying")                       \
  /* Calls of frontends. */                                   \
  X(kCallTaken, "call.taken")                                 \
  X(kCallBeforeAnswer, "call.before_answer")                  \
  X(kCallAfterAnswer, "call.after_answer")                    \
  X(kTreeBeforeLog, "tree.before_log")                        \
  X(kTreeAfterLog, "tree.after_log")                          \
  /* What a broker does about a predecessor's session. */     \
  X(kRecoveryLanesApplied, "recovery.lanes_applied")          \
  X(kRecoveryResumed, "recovery.resumed")                     \
  X(kRecoverySent, "recovery.sent")                           \
  X(kRecoveryContentRemoved, "recovery.content_removed")      \
  /* Mounts of another ABI: read, and in place of the old. */ \
  X(kRemapRead, "remap.read")                                 \
  X(kRemapInPlace, "remap.in_place")                          \
  /* The frontend's side of a request. */                     \
  X(kFrontendRequestRead, "frontend.request_read")            \
  X(kFrontendSlotFilled, "frontend.slot_filled")              \
  X(kFrontendPlaceReserved, "frontend.place_reserved")        \
  X(kFrontendRecordQueued, "frontend.record_queued")          \
  X(kFrontendCallMade, "frontend.call_made")                  \
  X(kFrontendCallAnswered, "frontend.call_answered")          \
  X(kFrontendBeforeReply, "frontend.before_reply")            \
  X(kFrontendAfterReply, "frontend.after_reply")              \
  /* The gateway: a batch, a block, the collector. */         \
  X(kGatewayBeforeCommit, "gateway.before_commit")            \
  X(kGatewayAfterCommit, "gateway.after_commit")              \
  X(kGatewayBeforeReply, "gateway.before_reply")              \
  X(kGatewayBlockWritten, "gateway.block_written")            \
  X(kGatewayBlockNamed, "gateway.block_named")                \
  X(kGatewayGarbageMarked, "gateway.garbage_marked")          \
  X(kGatewayGarbageDeleted, "gateway.garbage_deleted")
// clang-format on

enum class FaultPoint : uint32_t {
#define AIRSTORE_FAULT_POINT_(enumerator, name) enumerator,
  AIRSTORE_FAULT_POINTS(AIRSTORE_FAULT_POINT_)
#undef AIRSTORE_FAULT_POINT_
      kCount
};
inline constexpr uint32_t kFaultPoints = static_cast<uint32_t>(FaultPoint::kCount);
inline constexpr const char* kFaultPointNames[kFaultPoints] = {
#define AIRSTORE_FAULT_POINT_(enumerator, name) name,
    AIRSTORE_FAULT_POINTS(AIRSTORE_FAULT_POINT_)
#undef AIRSTORE_FAULT_POINT_
};

enum class FaultAction : uint32_t {
  kKill,   // SIGKILL, `argument` milliseconds later: other threads go on meanwhile
  kStop,   // SIGSTOP
  kDelay,  // of the thread, by `argument` milliseconds
  kError,  // the errno `argument`, where there is somebody to take it
};

// Of one point. Armed while `times` is above 0, which is stored last.
struct FaultSlot {
  std::atomic<uint64_t> reached;
  std::atomic<int64_t> skip;   // so often nothing happens yet
  std::atomic<int64_t> times;  // so often it happens then
  std::atomic<FaultAction> action;
  std::atomic<uint32_t> argument;
  std::atomic<uint64_t> fired;
  std::atomic<int32_t> fired_in;  // process id of the last one
};

// What the file holds.
struct FaultBoard {
  static constexpr uint64_t kMagic = 0x746c756166727461;
  uint64_t magic;
  uint32_t points;  // kFaultPoints of who made it
  uint32_t unused;
  FaultSlot slots[kFaultPoints];
};

extern FaultBoard* fault_board;  // nullptr: no test
int ReachSlow(FaultPoint point);

// The process is at the point. Returns an errno if the test wants the next step to fail, else 0.
inline int Reach(FaultPoint point) {
  if (fault_board == nullptr) [[likely]]
    return 0;
  return ReachSlow(point);
}

}  // namespace airstore
