// SPDX-License-Identifier: Apache-2.0
//
// Segment: one mapped piece of shared memory with a verified SegmentHeader.
//
// memfd segments are sealed against shrinking, growing and further seals, so a mapping can never
// fault for want of a page behind its end; spool segments are files of fixed length on local disk
// with every block allocated. Mapping goes through boost::interprocess, over the descriptor.
// Threads: immutable after creation; what lies inside has its own rules.
// Owns: the descriptor and the mapping.
#pragma once

#include <array>
#include <boost/interprocess/mapped_region.hpp>
#include <memory>
#include <string>

#include "shm/base/fd.h"
#include "shm/base/result.h"
#include "shm/layout.h"

namespace airstore::shm {

using SessionId = std::array<uint8_t, 16>;

// What is wrong with a descriptor that should be a segment.
enum class AttachState {
  kOk,
  kNotReady,      // the creator has not finished
  kWrongMagic,    // not ours
  kWrongVersion,  // another ABI: the message names both versions
  kWrongKind,
  kWrongSession,
  kTooShort,    // file shorter than the header says
  kNotSealed,   // a memfd without the seals we rely on
  kWrongIndex,  // another slab or mount of the session
};
const char* AttachStateName(AttachState state);

class Segment {
 public:
  struct Identity {
    SegmentKind kind;
    SessionId session;
    uint32_t index = 0;
  };

  // A memfd named airstore-KIND-INDEX, zeroed, sealed, header filled, not yet ready.
  // Fails with ENOMEM or ENOSPC when the memory is not to be had.
  static Result<std::unique_ptr<Segment>> CreateMemfd(const Identity& identity, uint64_t bytes);
  // A file of `bytes` at `path`, mode 0600, all blocks allocated, replacing what is there. Not yet
  // ready.
  static Result<std::unique_ptr<Segment>> CreateSpool(const Identity& identity, uint64_t bytes,
                                                      const std::string& path);
  // Maps a received descriptor after verifying size, seals (memfd kinds) and header.
  // `writable` must match how the descriptor was opened. EPROTO with a named state on a mismatch.
  static Result<std::unique_ptr<Segment>> Attach(UniqueFd fd, const Identity& expected,
                                                 bool writable);

  ~Segment();
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  // Maps what `other` is in place of this, at the same addresses: readers go on, and read from
  // `other` at some point. REQUIRES: both are mapped read-only, and of one size. After a failure
  // the old mapping is as it was.
  Result<void> TakePlace(std::unique_ptr<Segment> other);

  // The last step of a creator.
  void MarkReady();

  uint8_t* base() const { return base_; }
  uint64_t size() const { return region_->get_size(); }
  int fd() const { return fd_.get(); }
  const SegmentHeader& header() const { return *At<SegmentHeader>(0); }
  // A new descriptor of the same memory that cannot write. EACCES and the like from /proc.
  Result<UniqueFd> OpenReadOnly() const;
  // The same mapping once more, for both sides of a lane in one process.
  Result<std::unique_ptr<Segment>> Alias() const;
  // Backs a range with memory or blocks, so that touching it cannot fault. ENOSPC or ENOMEM.
  Result<void> Allocate(uint64_t offset, uint64_t bytes) const;

  template <typename T>
  T* At(uint64_t offset) const {
    return reinterpret_cast<T*>(base() + offset);
  }

 private:
  using Region = std::shared_ptr<boost::interprocess::mapped_region>;  // shared by aliases
  Segment(UniqueFd fd, Region region);
  static Result<std::unique_ptr<Segment>> Format(UniqueFd fd, const Identity& identity,
                                                 uint64_t bytes);
  static Result<void> Allocate(int fd, uint64_t offset, uint64_t bytes);

  UniqueFd fd_;
  Region region_;
  uint8_t* base_;
};

// Checks a header against what was expected; `bytes` is the file's size.
AttachState CheckHeader(const SegmentHeader& header, const Segment::Identity& expected,
                        uint64_t bytes);

}  // namespace airstore::shm
