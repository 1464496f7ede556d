// SPDX-License-Identifier: Apache-2.0
//
// InitPatch: adds to libfuse's INIT reply what libfuse 3.14 cannot say.
//
// It watches the requests for INIT, remembers what the kernel offers, and completes the reply with
// the same unique number: FUSE_PARALLEL_DIROPS (which 3.14 wants but forgets to send), passthrough
// with its stack depth, shared maps of direct_io files, FUSE_HANDLE_KILLPRIV_V2 (without it the
// kernel asks for the capabilities of a file at each write), and FUSE_SETXATTR_EXT. Nothing the
// kernel did not offer is ever set. Threads: SeeRequest and Patch are for the time before INIT is
// answered, when the kernel sends no other request; done() may be asked by any thread.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

namespace airstore::fuse {

class InitPatch {
 public:
  enum class Passthrough { kOff, kWanted };

  explicit InitPatch(Passthrough passthrough) : passthrough_(passthrough) {}

  void SeeRequest(std::span<const uint8_t> request);
  // The reply to be sent instead, if these parts are the successful reply to INIT; else empty.
  std::vector<uint8_t> Patch(const iovec* parts, int count) const;
  // INIT as it was seen; empty before.
  const std::vector<uint8_t>& request() const { return request_; }
  // SETXATTR says more than libfuse expects.
  bool setxattr_ext() const;
  void MarkDone() { done_.store(true, std::memory_order_release); }
  bool done() const { return done_.load(std::memory_order_acquire); }

 private:
  const Passthrough passthrough_;
  std::vector<uint8_t> request_;
  uint64_t unique_ = 0;
  uint32_t offered_ = 0;
  uint32_t offered2_ = 0;
  std::atomic<bool> done_{false};
};

}  // namespace airstore::fuse
