// SPDX-License-Identifier: Apache-2.0
//
// Pins every size and offset of layout.h. A failure here means that two builds would not understand
// each other: bump kAbiMajor, then change the number.
#include <bit>
#include <type_traits>

#include "shm/layout.h"

namespace airstore::shm {

static_assert(std::endian::native == std::endian::little);
static_assert(std::atomic<uint32_t>::is_always_lock_free);
static_assert(std::atomic<uint64_t>::is_always_lock_free);
static_assert(sizeof(std::atomic<uint32_t>) == 4 && alignof(std::atomic<uint32_t>) == 4);
static_assert(sizeof(std::atomic<uint64_t>) == 8 && alignof(std::atomic<uint64_t>) == 8);

#define AIRSTORE_SIZE(type, bytes) \
  static_assert(std::is_standard_layout_v<type> && sizeof(type) == (bytes), #type)
#define AIRSTORE_FIELD(type, field, offset) \
  static_assert(offsetof(type, field) == (offset), #type "::" #field)

AIRSTORE_SIZE(SegmentHeader, 256);
AIRSTORE_FIELD(SegmentHeader, magic, 0);
AIRSTORE_FIELD(SegmentHeader, abi_major, 8);
AIRSTORE_FIELD(SegmentHeader, abi_minor, 12);
AIRSTORE_FIELD(SegmentHeader, kind, 16);
AIRSTORE_FIELD(SegmentHeader, header_bytes, 20);
AIRSTORE_FIELD(SegmentHeader, total_bytes, 24);
AIRSTORE_FIELD(SegmentHeader, session_id, 32);
AIRSTORE_FIELD(SegmentHeader, creator_pid, 48);
AIRSTORE_FIELD(SegmentHeader, index, 52);
AIRSTORE_FIELD(SegmentHeader, creator_start_ticks, 56);
AIRSTORE_FIELD(SegmentHeader, reserved, 64);
AIRSTORE_FIELD(SegmentHeader, ready, 128);
AIRSTORE_FIELD(SegmentHeader, reserved_tail, 132);

AIRSTORE_SIZE(MetaGeometry, 128);
AIRSTORE_FIELD(MetaGeometry, inode_buckets, 0);
AIRSTORE_FIELD(MetaGeometry, dentry_buckets, 4);
AIRSTORE_FIELD(MetaGeometry, inode_capacity, 8);
AIRSTORE_FIELD(MetaGeometry, dentry_capacity, 12);
AIRSTORE_FIELD(MetaGeometry, long_name_capacity, 16);
AIRSTORE_FIELD(MetaGeometry, reserved, 20);
AIRSTORE_FIELD(MetaGeometry, inode_buckets_offset, 24);
AIRSTORE_FIELD(MetaGeometry, dentry_buckets_offset, 32);
AIRSTORE_FIELD(MetaGeometry, inodes_offset, 40);
AIRSTORE_FIELD(MetaGeometry, dentries_offset, 48);
AIRSTORE_FIELD(MetaGeometry, long_names_offset, 56);
AIRSTORE_FIELD(MetaGeometry, state_offset, 64);
AIRSTORE_FIELD(MetaGeometry, reserved_tail, 72);

AIRSTORE_SIZE(MetaState, 384);
AIRSTORE_FIELD(MetaState, applied_lsn, 0);
AIRSTORE_FIELD(MetaState, dropping, 8);
AIRSTORE_FIELD(MetaState, intent, 16);
AIRSTORE_FIELD(MetaState, index, 20);
AIRSTORE_FIELD(MetaState, words, 24);
AIRSTORE_FIELD(MetaState, reserved, 272);

AIRSTORE_SIZE(InodeRecord, 248);
AIRSTORE_FIELD(InodeRecord, inode, 0);
AIRSTORE_FIELD(InodeRecord, generation, 8);
AIRSTORE_FIELD(InodeRecord, mode, 16);
AIRSTORE_FIELD(InodeRecord, nlink, 20);
AIRSTORE_FIELD(InodeRecord, uid, 24);
AIRSTORE_FIELD(InodeRecord, gid, 28);
AIRSTORE_FIELD(InodeRecord, size, 32);
AIRSTORE_FIELD(InodeRecord, rdev, 40);
AIRSTORE_FIELD(InodeRecord, allocated_bytes, 48);
AIRSTORE_FIELD(InodeRecord, atime_ns, 56);
AIRSTORE_FIELD(InodeRecord, mtime_ns, 64);
AIRSTORE_FIELD(InodeRecord, ctime_ns, 72);
AIRSTORE_FIELD(InodeRecord, btime_ns, 80);
AIRSTORE_FIELD(InodeRecord, known_by, 88);
AIRSTORE_FIELD(InodeRecord, flags, 96);
AIRSTORE_FIELD(InodeRecord, write_error, 100);
AIRSTORE_FIELD(InodeRecord, content_kind, 104);
AIRSTORE_FIELD(InodeRecord, content_generation, 108);
AIRSTORE_FIELD(InodeRecord, content_file, 112);
AIRSTORE_FIELD(InodeRecord, extent_offset, 120);
AIRSTORE_FIELD(InodeRecord, slab_index, 128);
AIRSTORE_FIELD(InodeRecord, extent_bytes, 132);
AIRSTORE_FIELD(InodeRecord, dir_first, 136);
AIRSTORE_FIELD(InodeRecord, dir_last, 140);
AIRSTORE_FIELD(InodeRecord, dir_next_cookie, 144);
AIRSTORE_FIELD(InodeRecord, dir_entries, 152);
AIRSTORE_FIELD(InodeRecord, xattr_count, 156);
AIRSTORE_FIELD(InodeRecord, content_version, 160);
AIRSTORE_FIELD(InodeRecord, reserved, 168);

static_assert(sizeof(InodeRecord) <= kMaxRecordWords * 8);
static_assert(sizeof(DentryRecord) <= kMaxRecordWords * 8);

AIRSTORE_SIZE(InodeEntry, 256);
AIRSTORE_FIELD(InodeEntry, sequence, 0);
AIRSTORE_FIELD(InodeEntry, hash_next, 4);
AIRSTORE_FIELD(InodeEntry, words, 8);

AIRSTORE_SIZE(DentryEntry, 128);
AIRSTORE_FIELD(DentryEntry, sequence, 0);
AIRSTORE_FIELD(DentryEntry, hash_next, 4);
AIRSTORE_FIELD(DentryEntry, words, 8);

AIRSTORE_SIZE(DentryRecord, 120);
AIRSTORE_FIELD(DentryRecord, parent, 0);
AIRSTORE_FIELD(DentryRecord, inode, 8);
AIRSTORE_FIELD(DentryRecord, cookie, 16);
AIRSTORE_FIELD(DentryRecord, name_hash, 24);
AIRSTORE_FIELD(DentryRecord, dir_previous, 28);
AIRSTORE_FIELD(DentryRecord, dir_next, 32);
AIRSTORE_FIELD(DentryRecord, type, 36);
AIRSTORE_FIELD(DentryRecord, name_bytes, 40);
AIRSTORE_FIELD(DentryRecord, long_name, 44);
AIRSTORE_FIELD(DentryRecord, reserved, 48);
AIRSTORE_FIELD(DentryRecord, name, 56);

AIRSTORE_SIZE(LongName, 256);
AIRSTORE_FIELD(LongName, words, 0);

AIRSTORE_SIZE(LaneCursors, 512);
AIRSTORE_FIELD(LaneCursors, applied, 0);
AIRSTORE_FIELD(LaneCursors, arena_applied, 8);
AIRSTORE_FIELD(LaneCursors, mounts, 16);
AIRSTORE_FIELD(LaneCursors, inode_uses, 20);
AIRSTORE_FIELD(LaneCursors, mount_index, 24);
AIRSTORE_FIELD(LaneCursors, synchronous, 28);
AIRSTORE_FIELD(LaneCursors, write_gate, 32);
AIRSTORE_FIELD(LaneCursors, write_stall_ms, 36);
AIRSTORE_FIELD(LaneCursors, write_closed_ns, 40);
AIRSTORE_FIELD(LaneCursors, taken, 48);
AIRSTORE_FIELD(LaneCursors, patience_ms, 56);
AIRSTORE_FIELD(LaneCursors, reserved_broker, 60);
AIRSTORE_FIELD(LaneCursors, broker_sleeps, 128);
AIRSTORE_FIELD(LaneCursors, reserved_sleep, 132);
AIRSTORE_FIELD(LaneCursors, frontend_waits, 256);
AIRSTORE_FIELD(LaneCursors, progress, 260);
AIRSTORE_FIELD(LaneCursors, reserved_wait, 264);
AIRSTORE_FIELD(LaneCursors, hazards_used, 384);
AIRSTORE_FIELD(LaneCursors, reserved_hazards, 388);

AIRSTORE_SIZE(QueueRecord, 64);
AIRSTORE_FIELD(QueueRecord, position, 0);
AIRSTORE_FIELD(QueueRecord, op, 8);
AIRSTORE_FIELD(QueueRecord, slot, 12);
AIRSTORE_FIELD(QueueRecord, inode, 16);
AIRSTORE_FIELD(QueueRecord, offset, 24);
AIRSTORE_FIELD(QueueRecord, arena_position, 32);
AIRSTORE_FIELD(QueueRecord, length, 40);
AIRSTORE_FIELD(QueueRecord, flags, 44);
AIRSTORE_FIELD(QueueRecord, time_ns, 48);
AIRSTORE_FIELD(QueueRecord, unique, 56);

AIRSTORE_SIZE(RequestArgs, 112);
AIRSTORE_FIELD(RequestArgs, op, 0);
AIRSTORE_FIELD(RequestArgs, flags, 4);
AIRSTORE_FIELD(RequestArgs, unique, 8);
AIRSTORE_FIELD(RequestArgs, inode, 16);
AIRSTORE_FIELD(RequestArgs, inode2, 24);
AIRSTORE_FIELD(RequestArgs, offset, 32);
AIRSTORE_FIELD(RequestArgs, size, 40);
AIRSTORE_FIELD(RequestArgs, valid, 48);
AIRSTORE_FIELD(RequestArgs, mode, 52);
AIRSTORE_FIELD(RequestArgs, uid, 56);
AIRSTORE_FIELD(RequestArgs, gid, 60);
AIRSTORE_FIELD(RequestArgs, pid, 64);
AIRSTORE_FIELD(RequestArgs, umask, 68);
AIRSTORE_FIELD(RequestArgs, set_uid, 72);
AIRSTORE_FIELD(RequestArgs, set_gid, 76);
AIRSTORE_FIELD(RequestArgs, rdev, 80);
AIRSTORE_FIELD(RequestArgs, atime_ns, 88);
AIRSTORE_FIELD(RequestArgs, mtime_ns, 96);
AIRSTORE_FIELD(RequestArgs, name_bytes, 104);
AIRSTORE_FIELD(RequestArgs, name2_bytes, 108);

AIRSTORE_SIZE(RequestReply, 328);
AIRSTORE_FIELD(RequestReply, error, 0);
AIRSTORE_FIELD(RequestReply, open_mode, 4);
AIRSTORE_FIELD(RequestReply, backing_id, 8);
AIRSTORE_FIELD(RequestReply, inode_index, 12);
AIRSTORE_FIELD(RequestReply, value, 16);
AIRSTORE_FIELD(RequestReply, statfs, 24);
AIRSTORE_FIELD(RequestReply, text_bytes, 72);
AIRSTORE_FIELD(RequestReply, reserved, 76);
AIRSTORE_FIELD(RequestReply, attr, 80);

AIRSTORE_SIZE(RequestSlot, 69632);
AIRSTORE_FIELD(RequestSlot, state, 0);
AIRSTORE_FIELD(RequestSlot, reserved0, 4);
AIRSTORE_FIELD(RequestSlot, position, 8);
AIRSTORE_FIELD(RequestSlot, reserved, 16);
AIRSTORE_FIELD(RequestSlot, args, 128);
AIRSTORE_FIELD(RequestSlot, reply, 240);
AIRSTORE_FIELD(RequestSlot, text, 568);
AIRSTORE_FIELD(RequestSlot, reserved_tail, 66616);

AIRSTORE_SIZE(HazardSlot, 128);
AIRSTORE_FIELD(HazardSlot, extent, 0);
AIRSTORE_FIELD(HazardSlot, reserved, 8);

AIRSTORE_SIZE(InodeUse, 16);
AIRSTORE_FIELD(InodeUse, lookups, 0);
AIRSTORE_FIELD(InodeUse, opens, 4);
AIRSTORE_FIELD(InodeUse, cached_generation, 8);
AIRSTORE_FIELD(InodeUse, used, 12);

AIRSTORE_SIZE(RequestTrace, 128);
AIRSTORE_FIELD(RequestTrace, unique, 0);
AIRSTORE_FIELD(RequestTrace, waiting, 8);
AIRSTORE_FIELD(RequestTrace, effect, 12);
AIRSTORE_FIELD(RequestTrace, inode_index, 16);
AIRSTORE_FIELD(RequestTrace, reserved, 20);

AIRSTORE_SIZE(OpeningMessage, 384);
AIRSTORE_FIELD(OpeningMessage, bytes, 0);
AIRSTORE_FIELD(OpeningMessage, greatest_request, 4);
AIRSTORE_FIELD(OpeningMessage, reserved, 8);
AIRSTORE_FIELD(OpeningMessage, data, 128);

AIRSTORE_SIZE(ReadEvent, 48);
AIRSTORE_FIELD(ReadEvent, position, 0);
AIRSTORE_FIELD(ReadEvent, inode, 8);
AIRSTORE_FIELD(ReadEvent, offset, 16);
AIRSTORE_FIELD(ReadEvent, time_ms, 24);
AIRSTORE_FIELD(ReadEvent, requested, 32);
AIRSTORE_FIELD(ReadEvent, bytes, 36);
AIRSTORE_FIELD(ReadEvent, latency_us, 40);
AIRSTORE_FIELD(ReadEvent, source, 44);
AIRSTORE_FIELD(ReadEvent, error, 46);

AIRSTORE_SIZE(ReadLog, 196864);
AIRSTORE_FIELD(ReadLog, wanted, 0);
AIRSTORE_FIELD(ReadLog, reserved, 4);
AIRSTORE_FIELD(ReadLog, taken, 8);
AIRSTORE_FIELD(ReadLog, reserved_broker, 16);
AIRSTORE_FIELD(ReadLog, next, 128);
AIRSTORE_FIELD(ReadLog, left_out, 136);
AIRSTORE_FIELD(ReadLog, announced, 144);
AIRSTORE_FIELD(ReadLog, reserved_frontend, 148);
AIRSTORE_FIELD(ReadLog, events, 256);

AIRSTORE_SIZE(LaneLayout, 4759424);
AIRSTORE_FIELD(LaneLayout, header, 0);
AIRSTORE_FIELD(LaneLayout, cursors, 256);
AIRSTORE_FIELD(LaneLayout, queue, 768);
AIRSTORE_FIELD(LaneLayout, slots, 66304);
AIRSTORE_FIELD(LaneLayout, hazards, 4522752);
AIRSTORE_FIELD(LaneLayout, counters, 4539136);
AIRSTORE_FIELD(LaneLayout, histograms, 4539648);
AIRSTORE_FIELD(LaneLayout, traces, 4545792);
AIRSTORE_FIELD(LaneLayout, opening, 4562176);
AIRSTORE_FIELD(LaneLayout, reads, 4562560);

// Words of different writers are a line apart.
static_assert(offsetof(LaneCursors, broker_sleeps) % kLine == 0);
static_assert(offsetof(LaneCursors, frontend_waits) % kLine == 0);
static_assert(offsetof(LaneCursors, hazards_used) % kLine == 0);
static_assert(offsetof(ReadLog, next) % kLine == 0);
static_assert(offsetof(ReadLog, events) % kLine == 0);
static_assert(sizeof(LaneLayout) % alignof(InodeUse) == 0);

#undef AIRSTORE_SIZE
#undef AIRSTORE_FIELD

}  // namespace airstore::shm
