// SPDX-License-Identifier: Apache-2.0
#include "tests/model/history.h"

#include <barrier>
#include <limits>
#include <set>
#include <sstream>
#include <thread>

namespace airstore::model {
namespace {

// Looks for an order depth first; a state that led nowhere is not looked at again.
class Search {
 public:
  Search(const History& history, const std::map<std::string, std::string>& end)
      : history_(history), end_(end), at_(history.size()), under_way_(history.size()) {}

  bool From(const TreeModel& model) {
    if (!seen_.insert(Key(model)).second) return false;
    const uint64_t deadline = EarliestEnd();
    if (deadline == std::numeric_limits<uint64_t>::max()) return model.Listing() == end_;
    for (size_t thread = 0; thread < history_.size(); ++thread) {
      if (at_[thread] == history_[thread].size()) continue;
      const Event& event = history_[thread][at_[thread]];
      if (event.began > deadline) continue;
      TreeModel next = model;
      const TreeModel::Progress before = under_way_[thread];
      const Answer answer = next.Step(event.call, event.answer, &under_way_[thread]);
      const bool done = under_way_[thread].done;
      const bool agrees =
          !done || (answer.error == event.answer.error && answer.seen == event.answer.seen &&
                    (answer.error != 0 || answer.inode == event.answer.inode));
      if (agrees) {
        if (done) {
          ++at_[thread];
          under_way_[thread] = {};
        }
        if (From(next)) return true;
        if (done) --at_[thread];
      }
      under_way_[thread] = before;
    }
    return false;
  }

 private:
  std::string Key(const TreeModel& model) const {
    std::string key = model.Key();
    for (size_t thread = 0; thread < at_.size(); ++thread) {
      key += std::to_string(at_[thread]) + ":" + under_way_[thread].Key();
    }
    return key;
  }
  // Nothing that began after this may come before it.
  uint64_t EarliestEnd() const {
    uint64_t earliest = std::numeric_limits<uint64_t>::max();
    for (size_t thread = 0; thread < at_.size(); ++thread) {
      if (at_[thread] == history_[thread].size()) continue;
      earliest = std::min(earliest, history_[thread][at_[thread]].ended);
    }
    return earliest;
  }

  const History& history_;
  const std::map<std::string, std::string>& end_;
  std::vector<size_t> at_;
  std::vector<TreeModel::Progress> under_way_;
  std::set<std::string> seen_;
};

uint64_t Now() {
  return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

}  // namespace

History RunAtOnce(const Program& program, const std::vector<std::string>& roots) {
  History history(program.size());
  std::barrier start(static_cast<std::ptrdiff_t>(program.size()));
  std::vector<std::thread> threads;
  for (size_t i = 0; i < program.size(); ++i) {
    threads.emplace_back([&, i] {
      const std::string& root = roots[i % roots.size()];
      history[i].reserve(program[i].size());
      start.arrive_and_wait();
      for (const Call& call : program[i]) {
        Event event{call, {}, Now(), 0};
        event.answer = Execute(call, root);
        event.ended = Now();
        history[i].push_back(std::move(event));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return history;
}

bool IsExplained(const TreeModel& start, const History& history,
                 const std::map<std::string, std::string>& end) {
  return Search(history, end).From(start);
}

std::string Text(const History& history) {
  std::ostringstream out;
  uint64_t first = std::numeric_limits<uint64_t>::max();
  for (const auto& events : history) {
    if (!events.empty()) first = std::min(first, events.front().began);
  }
  for (size_t i = 0; i < history.size(); ++i) {
    for (const Event& event : history[i]) {
      out << "  thread " << i << ", " << (event.began - first) / 1000 << " to "
          << (event.ended - first) / 1000 << " us: " << event.call.Text() << ": "
          << event.answer.Text() << "\n";
    }
  }
  return out.str();
}

}  // namespace airstore::model
