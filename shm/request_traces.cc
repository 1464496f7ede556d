// SPDX-License-Identifier: Apache-2.0
#include "shm/request_traces.h"

namespace airstore::shm {

RequestTraces::RequestTraces(RequestTrace* traces) : traces_(traces) {
  for (size_t i = 0; i < kRequestTraces; ++i) {
    if (traces[i].unique.load(std::memory_order_acquire) == 0) continue;
    owners_[i].store(Owner::kPredecessor, std::memory_order_relaxed);
    traces[i].waiting.store(1, std::memory_order_relaxed);
  }
}

bool RequestTraces::Claim(size_t index, Owner from) {
  return owners_[index].compare_exchange_strong(from, Owner::kThread, std::memory_order_acq_rel);
}

RequestTrace* RequestTraces::Begin(uint64_t unique, bool repeated) {
  for (size_t i = 0; repeated && i < kRequestTraces; ++i) {
    RequestTrace& trace = traces_[i];
    if (trace.unique.load(std::memory_order_relaxed) != unique || !Claim(i, Owner::kPredecessor)) {
      continue;
    }
    trace.waiting.store(0, std::memory_order_relaxed);
    return &trace;
  }
  // Each thread comes back to the entry it had, which is free then unless threads are many.
  static thread_local size_t last = 0;
  for (size_t tries = 0; tries < kRequestTraces; ++tries) {
    const size_t i = (last + tries) % kRequestTraces;
    if (!Claim(i, Owner::kNobody)) continue;
    last = i;
    RequestTrace& trace = traces_[i];
    trace.waiting.store(0, std::memory_order_relaxed);
    trace.effect.store(static_cast<uint32_t>(LocalEffect::kNone), std::memory_order_relaxed);
    trace.unique.store(unique, std::memory_order_release);
    return &trace;
  }
  return nullptr;
}

void RequestTraces::End(RequestTrace* trace) {
  trace->unique.store(0, std::memory_order_release);
  owners_[static_cast<size_t>(trace - traces_)].store(Owner::kNobody, std::memory_order_release);
}

void RequestTraces::DropLeft() {
  for (size_t i = 0; i < kRequestTraces; ++i) {
    if (Claim(i, Owner::kPredecessor)) End(&traces_[i]);
  }
}

}  // namespace airstore::shm
