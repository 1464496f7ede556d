// SPDX-License-Identifier: Apache-2.0
//
// Evictor: takes inodes and names that nobody uses out of the tables when these fill, so that a
// workspace may have more files than fit.
//
// A hand goes round the inode table. What was touched since its last visit stays for one more
// round; so does what a kernel holds, what is open, and what the gateway does not have yet. A name
// stays as long as its directory does, because offsets of open listings count on it, and a
// directory stays as long as one below it. When most of what the hand meets is held by kernels they
// are asked to forget what no program uses (FUSE_NOTIFY_PRUNE, Linux 6.18); before that version
// only what they forget by themselves can go.
//
// Work is done in short slices on the event loop, in proportion to what is to go.
// Threads: the event loop.
#pragma once

#include <cstdint>
#include <vector>

#include "broker/contents.h"
#include "broker/inode_cache.h"
#include "broker/mount_port.h"
#include "broker/mutation_log.h"
#include "broker/task.h"

namespace airstore::broker {

class Evictor {
 public:
  Evictor(boost::asio::any_io_executor executor, Tasks* tasks, InodeCache* inodes,
          Contents* contents, MutationLog* log, MountSet* mounts);

  // To be called when something was added: begins to make room before there is none.
  void Watch();
  // Room for so many more inodes and names.
  bool HasRoom(uint32_t entries) const;
  // Waits until there is. False: all that is in the tables is in use.
  Task<bool> MakeRoom(uint32_t entries);
  // Takes out what lies at the index, if nobody uses it; of a directory, its names too.
  bool TakeOut(uint32_t index);
  // The session ends: no more of it.
  void Stop() { stopping_ = true; }

  uint64_t evicted() const { return evicted_; }

 private:
  enum class Outcome { kGone, kInUse, kHeldByKernels };

  bool InodesWanted() const;
  bool NamesWanted() const;
  bool Wanted() const { return InodesWanted() || NamesWanted(); }
  void Start();
  Task<void> Run();
  void LookAtSome();
  Outcome Try(uint32_t index);
  bool Settled(const shm::InodeRecord& record) const;
  bool Release(const shm::InodeRecord& record);
  bool DropNames(uint32_t directory_index);
  Task<void> AskKernels();

  boost::asio::any_io_executor executor_;
  Tasks* tasks_;
  InodeCache* inodes_;
  Contents* contents_;
  MutationLog* log_;
  MountSet* mounts_;
  bool running_ = false;
  uint64_t runs_ = 0;  // that have ended
  bool stopping_ = false;
  uint32_t hand_ = 1;
  uint32_t budget_ = 0;       // entries that this slice may still look at
  bool unfinished_ = false;   // the directory under the hand has more names
  uint32_t rounds_ = 0;       // of the hand, since something went
  uint32_t demand_ = 0;       // room that somebody waits for
  int64_t exhausted_ns_ = 0;  // when all was found to be in use
  uint64_t evicted_ = 0;
  std::vector<uint64_t> held_;  // inodes that kernels hold, not used of late
  Event progress_;
};

}  // namespace airstore::broker
