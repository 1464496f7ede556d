// SPDX-License-Identifier: Apache-2.0
//
// SessionState: what the broker remembers of a session in a v1 gateway's place: the paths of inode
// numbers, which numbers were given out, which changes were carried out, and the times that files
// were given here, which the gateway keeps in whole seconds of its own.
//
// It is on disk from the first change on, in the session's directory, and outlives the broker.
// Threads: the event loop.
// Fails: an error of the disk is told by the call whose record could not be written.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>

#include "broker/v1/path_map.h"
#include "broker/v1/record_file.h"

namespace airstore::broker::v1 {

// Of a file as this session has left it at the gateway.
struct Left {
  uint64_t size = 0;
  int64_t mtime_s = 0;   // the gateway's
  int64_t mtime_ns = 0;  // ours
  uint64_t version = 0;  // of its content
};

class SessionState {
 public:
  // `directory`: of the session; it may come into being later.
  explicit SessionState(std::string directory) : directory_(std::move(directory)) {}

  // Reads what is there. EPROTO: it is not ours.
  Result<void> Load();
  bool loaded() const { return loaded_; }

  PathMap& paths() { return paths_; }
  const PathMap& paths() const { return paths_; }

  std::string workspace;  // name, as it was asked for

  // ---- numbers
  uint64_t next_inode() const { return next_inode_; }
  uint64_t TakeInodes(uint64_t count);

  // ---- names, on record
  uint64_t Learn(uint64_t parent, const std::string& name);  // its number, a new one if needed
  void Bind(uint64_t parent, const std::string& name, uint64_t inode);
  void Unbind(uint64_t parent, const std::string& name);
  void Move(uint64_t parent, const std::string& name, uint64_t new_parent,
            const std::string& new_name);

  // ---- changes
  struct Done {
    int error = 0;
    uint64_t version = 0;
  };
  uint64_t last_done() const { return last_done_; }
  // It is about to be made; `inode`: whose content it changes, or 0.
  Result<void> Begin(uint64_t sequence, uint64_t inode);
  bool begun(uint64_t sequence) const { return begun_.contains(sequence); }
  Result<void> Finish(uint64_t sequence, Done done);
  std::optional<Done> DoneBefore(uint64_t sequence) const;
  // A change of its content was begun, and nobody knows how far it came.
  bool torn(uint64_t inode) const { return torn_.contains(inode); }

  void Leave(uint64_t inode, const Left& left);
  const Left* LeftOf(uint64_t inode) const;

  // Writes all of it to disk as soon as the directory is there. Called before anything relies on
  // it.
  Result<void> Save();

 private:
  Result<void> Record(const std::string& record);
  void Take(std::string_view record);
  std::vector<std::string> All() const;

  const std::string directory_;
  std::optional<RecordFile> file_;
  bool loaded_ = false;
  bool unsaved_ = false;
  uint64_t rewritten_bytes_ = 0;

  PathMap paths_;
  uint64_t next_inode_ = kRoot + 1;
  uint64_t last_done_ = 0;
  std::map<uint64_t, uint64_t> begun_;  // inode of the content, by sequence
  std::map<uint64_t, Done> done_;       // the latest
  std::set<uint64_t> torn_;
  std::unordered_map<uint64_t, Left> left_;
};

}  // namespace airstore::broker::v1
