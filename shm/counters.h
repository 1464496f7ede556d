// SPDX-License-Identifier: Apache-2.0
//
// Names of the counters and latency histograms in a lane; the index is part of the ABI.
#pragma once

#include <cstdint>

namespace airstore::shm {

enum Counter : uint32_t {
  kLookupHits,
  kLookupMisses,
  kGetattrHits,
  kGetattrMisses,
  kReaddirHits,
  kReaddirMisses,
  kOpenLocal,  // opens answered without the broker
  kOpenBroker,
  kOpenPassthroughs,
  kReadSlab,    // reads answered from a slab
  kReadFile,    // reads answered from a content file
  kReadBroker,  // reads that waited for the broker first
  kReadBytes,
  kWrites,
  kWriteBytes,
  kBrokerCalls,
  kBrokerWakes,  // eventfd writes
  kQueueFullWaits,
  kHazardRetries,
  kInterrupted,
  kRequests,  // of the kernel, all kinds
  kFsyncs,
  kRepeatedRequests,  // sent again after the death of a frontend
  kLeftCalls,         // of those, answered by a call that the dead one had made
  kWriteStalls,       // writes that waited for room in the spool
  kChangingListed,    // listings of a directory that was kChanging
  kTouches,           // reads that moved a time of access
  kCounterCount,
};

inline constexpr const char* kCounterNames[] = {
    "lookup_hits",     "lookup_misses", "getattr_hits",      "getattr_misses",   "readdir_hits",
    "readdir_misses",  "open_local",    "open_broker",       "open_passthrough", "read_slab",
    "read_file",       "read_broker",   "read_bytes",        "writes",           "write_bytes",
    "broker_calls",    "broker_wakes",  "queue_full_waits",  "hazard_retries",   "interrupted",
    "requests",        "fsyncs",        "repeated_requests", "left_calls",       "write_stalls",
    "changing_listed", "touches",
};
static_assert(sizeof(kCounterNames) / sizeof(kCounterNames[0]) == kCounterCount);

enum Histogram : uint32_t {
  kLatencyLookup,
  kLatencyGetattr,
  kLatencyOpen,
  kLatencyRead,
  kLatencyWrite,
  kLatencyReaddir,
  kLatencyMutation,
  kLatencyFsync,
  kHistogramCount,
};

inline constexpr const char* kHistogramNames[] = {
    "lookup", "getattr", "open", "read", "write", "readdir", "mutation", "fsync",
};
static_assert(sizeof(kHistogramNames) / sizeof(kHistogramNames[0]) == kHistogramCount);

}  // namespace airstore::shm
