// SPDX-License-Identifier: Apache-2.0
//
// ReplayContents: the content files of a dead session on their way to the gateway, each as a whole,
// because of what was sent before nothing is known for sure.
//
// Threads: the event loop; bulk reading runs on workers.
// Fails: a file that cannot be read counts as refused with its errno; after a loss of power so does
// one that nobody had waited for and whose end is not there, with kCutByPowerLoss.
#pragma once

#include <cerrno>
#include <functional>
#include <string>
#include <unordered_map>

#include "broker/content_upload.h"
#include "broker/mutation_log.h"
#include "broker/session_journal.h"

namespace airstore::broker {

// What a loss of power has left is shorter than what the gateway has.
inline constexpr int kCutByPowerLoss = ENODATA;

class ReplayContents : public ContentSource {
 public:
  struct File {
    std::string path;
    uint64_t size = 0;
  };
  // Called once for a file that is not to be had or not to be sent for good.
  using OnRefused = std::function<void(uint64_t inode, const File& file, int error)>;

  // Those of the journal's table that are dirty and have a name. The journal is told when one is
  // settled. All is borrowed.
  ReplayContents(Uploader with, const SessionLimits& limits, std::string directory,
                 const JournalState& state, SessionJournal* journal, OnRefused on_refused,
                 bool power_lost);

  std::vector<uint64_t> inodes() const;
  uint64_t dirty_bytes() const;

  Task<Mutation> BuildWrite(uint64_t inode) override;
  // Everything is sent with its bytes.
  bool BuildsOnPending(uint64_t /*inode*/) const override { return false; }
  bool HasMore(uint64_t inode) const override;
  void ForgetParts(uint64_t inode) override;
  Settled ContentSettled(uint64_t inode, int error) override;
  uint64_t ContentVersion(uint64_t inode) const override;
  // The lease may be one that was got back: another host may have been there in between.
  bool MustMatch(uint64_t /*inode*/) const override { return true; }
  void ContentApplied(uint64_t inode, uint64_t content_version, bool matched) override;

 private:
  struct Entry {
    File file;
    int64_t changed_ns = 0;        // the latest change of attributes that is on record
    uint64_t cut_to = UINT64_MAX;  // the smallest size that a change still to be sent gives it
    int error = 0;
    bool sent_again = false;
    uint64_t next_part = 0;  // the next write begins here; 0: anew
    int64_t part_since_ns = 0;
  };
  // Whether the file may replace what the gateway has.
  Task<int> Vet(uint64_t inode, const File& file, uint64_t cut_to);
  Task<int> Read(Entry* entry, WriteOp* op, int64_t* time_ns);

  Uploader with_;
  SessionLimits limits_;
  SessionJournal* journal_;
  OnRefused on_refused_;
  bool power_lost_;
  std::unordered_map<uint64_t, Entry> entries_;  // by inode
};

}  // namespace airstore::broker
