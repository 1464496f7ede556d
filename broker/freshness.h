// SPDX-License-Identifier: Apache-2.0
//
// Freshness: whether an answer of the gateway still holds when it arrives. Events of other hosts
// overtake answers; what came may be of before, and nobody would say so again.
//
// Threads: the event loop.
#pragma once

#include <cstdint>
#include <unordered_map>

namespace airstore::broker {

class Freshness {
 public:
  // A question to the gateway under way. Lives from before it is sent until its answer is used.
  class Question {
   public:
    explicit Question(Freshness* freshness) : freshness_(freshness), asked_(freshness->changes_) {
      ++freshness_->open_;
    }
    ~Question() {
      if (--freshness_->open_ != 0) return;
      freshness_->changed_.clear();
      freshness_->names_dropped_.clear();
    }
    Question(const Question&) = delete;
    Question& operator=(const Question&) = delete;

    // Nothing was heard about the inode (a directory: nor about its names) since.
    bool Holds(uint64_t inode) const {
      if (!HoldsAtAll()) return false;
      const auto found = freshness_->changed_.find(inode);
      return found == freshness_->changed_.end() || found->second <= asked_;
    }
    // Nothing was heard that concerns everything.
    bool HoldsAtAll() const { return freshness_->all_changed_ <= asked_; }
    // The directory's names, as far as they came since, are all here.
    bool HoldsNames(uint64_t directory) const {
      const auto found = freshness_->names_dropped_.find(directory);
      return found == freshness_->names_dropped_.end() || found->second <= asked_;
    }
    void AskAgain() { asked_ = freshness_->changes_; }

   private:
    Freshness* freshness_;
    uint64_t asked_;
  };

  void Changed(uint64_t inode) {
    if (open_ != 0) changed_[inode] = ++changes_;
  }
  // Names of it that are true have left the table: what comes now is not all.
  void NamesDropped(uint64_t directory) {
    if (open_ != 0) names_dropped_[directory] = ++changes_;
  }
  void AllChanged() { all_changed_ = ++changes_; }

 private:
  uint64_t changes_ = 0;
  uint64_t all_changed_ = 0;
  uint64_t open_ = 0;
  std::unordered_map<uint64_t, uint64_t> changed_;  // while questions are open: when it last was
  std::unordered_map<uint64_t, uint64_t> names_dropped_;  // likewise
};

}  // namespace airstore::broker
