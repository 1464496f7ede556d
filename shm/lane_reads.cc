// SPDX-License-Identifier: Apache-2.0
//
// The lane's log of reads. A thread that answered a read takes the next place and fills it; nobody
// waits for it there, and it waits for nobody. The broker is told once, and then looks as often as
// it likes until it has found the log empty.
#include "shm/copy_once.h"
#include "shm/lane.h"

namespace airstore::shm {

void LaneProducer::NoteRead(const NotedRead& read) {
  ReadLog& log = layout()->reads;
  uint64_t place = log.next.load(std::memory_order_relaxed);
  uint64_t taken = 0;
  do {
    taken = log.taken.load(std::memory_order_acquire);
    if (place - taken >= kReadEvents) {
      log.left_out.fetch_add(1, std::memory_order_relaxed);
      return;
    }
  } while (!log.next.compare_exchange_weak(place, place + 1, std::memory_order_seq_cst));
  ReadEvent& event = log.events[place % kReadEvents];
  StoreOnce(&event.inode, read.inode);
  StoreOnce(&event.offset, read.offset);
  StoreOnce(&event.time_ms, read.time_ms);
  StoreOnce(&event.requested, read.requested);
  StoreOnce(&event.bytes, read.bytes);
  StoreOnce(&event.latency_us, read.latency_us);
  StoreOnce(&event.source, static_cast<uint16_t>(read.source));
  StoreOnce(&event.error, read.error);
  event.position.store(place + 1, std::memory_order_release);
  const bool half_full = place - taken == kReadEvents / 2;
  // Pairs with the store in TakeReads: either it sees the place that we took, or we see the 0.
  if (!half_full && (log.announced.load(std::memory_order_seq_cst) != 0 ||
                     log.announced.exchange(1, std::memory_order_seq_cst) != 0)) {
    return;
  }
  Message message;
  message.op = QueueOp::kReads;
  message.flags = half_full ? 1 : 0;
  QueueInAnyCase(message);
}

void LaneConsumer::WantReads(bool wanted) {
  // What an earlier broker was told of is not told again.
  if (wanted) reads_left_out_ = layout()->reads.left_out.load(std::memory_order_relaxed);
  layout()->reads.wanted.store(wanted ? 1 : 0, std::memory_order_release);
}

bool LaneConsumer::TakeReads(size_t most, std::vector<NotedRead>* reads, uint64_t* left_out) {
  ReadLog& log = layout()->reads;
  log.announced.store(0, std::memory_order_seq_cst);
  const uint64_t end = log.next.load(std::memory_order_seq_cst);
  uint64_t place = log.taken.load(std::memory_order_relaxed);
  const uint64_t counted = log.left_out.load(std::memory_order_relaxed);
  *left_out = counted - reads_left_out_;
  reads_left_out_ = counted;
  // Of a frontend that does not keep to the rules.
  if (end - place > kReadEvents) place = end - kReadEvents;
  for (; place != end && most != 0; ++place) {
    const ReadEvent& event = log.events[place % kReadEvents];
    if (event.position.load(std::memory_order_acquire) != place + 1) {
      // It is being written, unless its thread has died: then it still is when we look again.
      if (place >= reads_begun_) break;
      ++*left_out;
      continue;
    }
    NotedRead read;
    read.inode = LoadOnce(event.inode);
    read.offset = LoadOnce(event.offset);
    read.time_ms = LoadOnce(event.time_ms);
    read.requested = LoadOnce(event.requested);
    read.bytes = LoadOnce(event.bytes);
    read.latency_us = LoadOnce(event.latency_us);
    read.source = static_cast<ReadSource>(LoadOnce(event.source));
    read.error = LoadOnce(event.error);
    reads->push_back(read);
    --most;
  }
  reads_begun_ = end;
  log.taken.store(place, std::memory_order_release);
  return place != end;
}

}  // namespace airstore::shm
