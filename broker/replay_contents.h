// SPDX-License-Identifier: Apache-2.0
//
// ReplayContents: the content files of a dead session on their way to the gateway, each as a whole,
// because of what was sent before nothing is known for sure.
//
// Threads: the event loop; bulk reading runs on workers.
// Fails: a file that cannot be read counts as refused with its errno.
#pragma once

#include <functional>
#include <string>
#include <unordered_map>

#include "broker/content_upload.h"
#include "broker/mutation_log.h"
#include "broker/session_journal.h"

namespace airstore::broker {

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
                 const JournalState& state, SessionJournal* journal, OnRefused on_refused);

  std::vector<uint64_t> inodes() const;
  uint64_t dirty_bytes() const;

  Task<Mutation> BuildWrite(uint64_t inode) override;
  void ContentSettled(uint64_t inode, int error) override;
  uint64_t ContentVersion(uint64_t inode) const override;
  void ContentApplied(uint64_t inode, uint64_t content_version) override;

 private:
  struct Entry {
    File file;
    int64_t changed_ns = 0;  // the latest change of attributes that is on record
    int error = 0;
  };
  Task<int> Read(Entry* entry, WriteOp* op, int64_t* time_ns);

  Uploader with_;
  SessionLimits limits_;
  SessionJournal* journal_;
  OnRefused on_refused_;
  std::unordered_map<uint64_t, Entry> entries_;  // by inode
};

}  // namespace airstore::broker
