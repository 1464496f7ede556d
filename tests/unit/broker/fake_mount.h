// SPDX-License-Identifier: Apache-2.0
//
// A mount whose kernel waits for answers, and whose frontend has read what a test says.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "broker/mount_port.h"

namespace airstore::broker {

class FakeMount : public MountPort {
 public:
  explicit FakeMount(uint32_t index) : index_(index) {}
  uint32_t index() const override { return index_; }
  bool passthrough() const override { return false; }
  uint32_t Lookups(uint32_t) const override { return 1; }
  uint32_t LocalOpens(uint32_t) const override { return 0; }
  bool TakeUsed(uint32_t) override { return false; }
  void AddHazards(std::vector<uint64_t>*) const override {}
  bool Answering(uint64_t) const override { return false; }
  uint64_t ListedWhileChanging() const override { return 0; }
  Result<int32_t> BackingOpen(int) override { return Error{ENOSYS, ""}; }
  void BackingClose(int32_t) override {}
  Task<void> InvalidateName(uint64_t, std::string) override { co_return; }
  Task<void> InvalidateData(uint64_t, uint64_t, uint64_t, std::optional<FileEnd>) override {
    co_return;
  }
  void Executed(uint32_t, uint64_t, const shm::Executed&) override {}
  bool InWork(uint32_t, uint64_t) const override { return false; }
  void InvalidateAttr(uint64_t) override {}
  Task<void> ForgetAttributes(uint64_t) override { co_return; }
  void InvalidateOwner(uint64_t) override {}
  Task<void> InvalidateAll(RemoteChanges) override { co_return; }
  bool AnswerRequest(uint64_t unique, int error) override {
    if (answers_are_lost) return false;
    answers.emplace_back(unique, error);
    return true;
  }
  bool DistrustNames() override { return true; }
  Task<void> Prune(std::vector<uint64_t>) override { co_return; }
  void SetSynchronous(bool) override {}
  void WantReads(bool wanted) override { reads_wanted = wanted; }
  bool TakeReads(size_t most, std::vector<shm::NotedRead>* taken, uint64_t* left_out) override {
    const size_t count = std::min(most, reads.size());
    taken->assign(reads.begin(), reads.begin() + static_cast<std::ptrdiff_t>(count));
    reads.erase(reads.begin(), reads.begin() + static_cast<std::ptrdiff_t>(count));
    *left_out = std::exchange(reads_left_out, 0);
    return !reads.empty();
  }
  Name name() const override { return {"mount-" + std::to_string(index_), "fuse"}; }

  std::vector<std::pair<uint64_t, int>> answers;
  bool answers_are_lost = false;
  bool reads_wanted = false;
  std::vector<shm::NotedRead> reads;
  uint64_t reads_left_out = 0;

 private:
  const uint32_t index_;
};

}  // namespace airstore::broker
