// SPDX-License-Identifier: Apache-2.0
//
// MountPort: what the session's shared state needs of each of its mounts; MountSet: all of them.
// Threads: the event loop.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "broker/task.h"
#include "shm/base/result.h"
#include "shm/lane.h"

namespace airstore::broker {

struct RemoteChanges {
  std::vector<std::pair<uint64_t, std::string>> names = {};  // entries: parent and name
  std::vector<uint64_t> listings = {};                       // directories: what was read of them
  std::vector<uint64_t> attributes = {};
  std::vector<uint64_t> data = {};  // attributes too
};

// Where a file ends: its size, which is not 0, and its last byte.
struct FileEnd {
  uint64_t size = 0;
  char last = 0;
};

class MountPort {
 public:
  virtual ~MountPort() = default;
  virtual uint32_t index() const = 0;  // bit in InodeRecord::known_by
  virtual bool passthrough() const = 0;
  // What this mount's kernel holds of the inode at that index of the inode table.
  virtual uint32_t Lookups(uint32_t inode_index) const = 0;
  virtual uint32_t LocalOpens(uint32_t inode_index) const = 0;
  // The kernel has looked it up since this was last asked.
  virtual bool TakeUsed(uint32_t inode_index) = 0;
  // A call that has made the inode is under way, or this mount's kernel does not have the answer
  // yet.
  virtual bool Answering(uint64_t inode) const = 0;
  // A program that this mount's kernel runs: that one alone refuses to have it written.
  virtual bool IsRun(uint64_t /*inode*/) const { return false; }
  // How many listings of directories that were changing this mount has been given.
  virtual uint64_t ListedWhileChanging() const = 0;
  // Adds the slab extents that the frontend is handing out.
  virtual void AddHazards(std::vector<uint64_t>* keys) const = 0;

  // The call in that slot has had its effect; before anything else can happen.
  virtual void Executed(uint32_t slot, uint64_t position, const shm::Executed& executed) = 0;

  // The kernel has no answer yet to the request that made the call in that slot.
  virtual bool InWork(uint32_t slot, uint64_t position) const = 0;

  virtual Result<int32_t> BackingOpen(int file) = 0;
  virtual void BackingClose(int32_t backing_id) = 0;

  // Make this mount's kernel forget; each returns when it has. Of names none waits for a request of
  // this mount that is with us.
  virtual Task<void> InvalidateName(uint64_t parent, std::string name) = 0;
  // With an `end` the kernel knows of what has been added without asking: for maps and copies it
  // goes by the size that it has.
  virtual Task<void> InvalidateData(uint64_t inode, uint64_t offset, uint64_t length,
                                    std::optional<FileEnd> end) = 0;
  // Has this mount's kernel find the directory at that path of the workspace; returns when it has,
  // or when that takes long. Kernels cannot be told where a directory has gone, only that it is not
  // where it was: programs in it would have no path, and the old place for "..".
  virtual Task<void> FindDirectory(std::string /*path*/) { co_return; }
  virtual void InvalidateAttr(uint64_t inode) = 0;
  // Attributes, also those in an answer that has not reached the kernel yet.
  virtual Task<void> ForgetAttributes(uint64_t inode) = 0;
  // An owner or a mode has changed: what the kernel checks before it changes a file or a sticky
  // directory it takes from the attributes that the last lookup brought.
  virtual void InvalidateOwner(uint64_t inode) = 0;
  // For changes of other hosts, many at once; never waits for a directory that a request has
  // locked, because that request may wait for a host that waits for us.
  virtual Task<void> InvalidateAll(RemoteChanges changes) = 0;
  // Every name that the kernel holds is asked for again. False: before Linux 6.16, one by one only.
  virtual bool DistrustNames() = 0;
  // Has the kernel forget those of the inodes that no program uses. Before Linux 6.18 nothing.
  virtual Task<void> Prune(std::vector<uint64_t> inodes) = 0;
  // Answers a request of this mount's kernel that its frontend has left to us. A request that is
  // not waiting (any more, or yet again) does not get it: false.
  virtual bool AnswerRequest(uint64_t unique, int error) = 0;
  // Reads that its frontend has answered are noted from now on; see LaneConsumer.
  virtual void WantReads(bool wanted) { (void)wanted; }
  virtual bool TakeReads(size_t most, std::vector<shm::NotedRead>* reads, uint64_t* left_out) {
    (void)most, (void)reads;
    *left_out = 0;
    return false;
  }
  struct Name {
    std::string id;       // of no other mount, whatever its broker
    std::string backend;  // "fuse", "nfs"
  };
  virtual Name name() const { return {}; }
  // Closes of writers wait until the gateway has what was written.
  virtual void SetSynchronous(bool synchronous) = 0;
};

class MountSet {
 public:
  void Add(MountPort* mount) { mounts_.push_back(mount); }
  void Remove(MountPort* mount) { std::erase(mounts_, mount); }
  const std::vector<MountPort*>& all() const { return mounts_; }
  size_t size() const { return mounts_.size(); }

  bool AnyLookups(uint32_t inode_index) const {
    for (const MountPort* mount : mounts_) {
      if (mount->Lookups(inode_index) != 0) return true;
    }
    return false;
  }
  bool AnyLocalOpens(uint32_t inode_index) const {
    for (const MountPort* mount : mounts_) {
      if (mount->LocalOpens(inode_index) != 0) return true;
    }
    return false;
  }
  bool AnyAnswering(uint64_t inode) const {
    for (const MountPort* mount : mounts_) {
      if (mount->Answering(inode)) return true;
    }
    return false;
  }
  bool TakeUsed(uint32_t inode_index) const {
    bool used = false;
    for (MountPort* mount : mounts_) used = mount->TakeUsed(inode_index) || used;
    return used;
  }
  void AddHazards(std::vector<uint64_t>* keys) const {
    for (const MountPort* mount : mounts_) mount->AddHazards(keys);
  }
  // For a task of its own: the mount may be gone when that begins.
  Task<void> InvalidateAll(uint32_t index, RemoteChanges changes) const {
    MountPort* const mount = Find(index);
    if (mount != nullptr) co_await mount->InvalidateAll(std::move(changes));
  }
  MountPort* Find(uint32_t index) const {
    for (MountPort* mount : mounts_) {
      if (mount->index() == index) return mount;
    }
    return nullptr;
  }

 private:
  std::vector<MountPort*> mounts_;
};

}  // namespace airstore::broker
