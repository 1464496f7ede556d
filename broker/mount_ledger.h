// SPDX-License-Identifier: Apache-2.0
//
// MountLedger: what a mount's broker has done, as far as its successor could not tell it from
// anything else: how often the kernel has each file open through the broker, under which numbers
// content files are registered with the device, and how far the queue was acted upon.
//
// A file beside the mount's lane, which only brokers map; it has blocks for what was used only.
// Each change is a few stores, made so that a broker which dies between any two of them has made
// all of it or nothing. Threads: the event loop. Owns: the mapping.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "shm/base/fd.h"
#include "shm/base/result.h"

namespace airstore::broker {

class MountLedger {
 public:
  // Of one inode.
  struct Opens {
    uint32_t passthrough = 0;
    uint32_t passthrough_writers = 0;
    uint32_t daemon = 0;
    uint32_t daemon_writers = 0;
    int32_t backing_id = 0;  // that of the passthrough opens
    uint32_t reserved = 0;

    bool any() const { return passthrough != 0 || daemon != 0; }
  };

  static std::string FileName(uint32_t mount_index);
  // `inode_capacity`: of the table whose indexes are used below.
  static Result<std::unique_ptr<MountLedger>> Create(const std::string& path,
                                                     uint32_t inode_capacity);
  // That of a broker that has died. EPROTO: it is none of ours.
  static Result<std::unique_ptr<MountLedger>> Adopt(const std::string& path,
                                                    uint32_t inode_capacity);
  ~MountLedger();
  MountLedger(const MountLedger&) = delete;
  MountLedger& operator=(const MountLedger&) = delete;

  size_t bytes() const { return allocated_bytes_; }  // on disk, at most

  // Records up to this place in the queue have had their effect, calls excepted.
  uint64_t handled() const;
  void Handled(uint64_t position);
  // The append at this place in the queue may have been made. 0: none.
  uint64_t begun() const;
  void Begun(uint64_t position);
  // Asked before Opened: whether there is room on the disk to note it.
  Result<void> Admit(uint32_t inode_index);
  // An open is about to be answered, by the call at that place. `mode`: shm::OpenMode.
  void Opened(uint64_t position, uint32_t inode_index, uint32_t mode, int32_t backing_id);
  // The record at that place, which ends an open, has had its effect.
  void Released(uint64_t position, uint32_t inode_index, uint32_t mode);
  // Nothing is open any more.
  void CloseAll();
  Opens OpensOf(uint32_t inode_index) const;
  // Those with opens, by index.
  std::vector<std::pair<uint32_t, Opens>> AllOpens() const;
  // The call whose open was counted last. After Adopt: if it was not answered, take it back.
  uint64_t last_opened() const;
  void TakeBackLastOpened();

  // Registrations with the device. At most kBackings are remembered.
  void AddBacking(int32_t id);
  void RemoveBacking(int32_t id);
  // Those of them that no open uses.
  std::vector<int32_t> IdleBackings() const;

 private:
  struct Header;
  struct Change;
  MountLedger(UniqueFd file, void* base, size_t bytes, uint32_t inode_capacity);
  static Result<std::unique_ptr<MountLedger>> Map(UniqueFd file, uint32_t inode_capacity,
                                                  const std::string& path);
  Header& header() const { return *static_cast<Header*>(base_); }
  Opens* opens() const;
  int32_t* backings() const;
  static void Write(Change* change, uint64_t position, uint32_t inode_index, const Opens& opens);
  void ReadBackings();
  // Makes sure that a store there finds its block: a full disk must not be found out by it.
  Result<void> Allocate(size_t at);
  bool Allocated(size_t at) const;
  size_t OffsetOf(uint32_t inode_index) const;
  // Calls `look(from, to)` for the parts of the file that were ever written to, within these
  // bounds.
  template <typename Look>
  void EachWritten(size_t begin, size_t end, Look look) const;

  UniqueFd file_;
  void* base_;
  size_t bytes_;
  uint32_t inode_capacity_;
  std::vector<bool> allocated_;  // by chunk
  size_t allocated_bytes_ = 0;
  std::unordered_map<int32_t, uint32_t> backing_places_;
  std::vector<uint32_t> free_backings_;
  uint32_t next_backing_ = 0;
};

}  // namespace airstore::broker
