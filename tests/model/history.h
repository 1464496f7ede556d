// SPDX-License-Identifier: Apache-2.0
//
// Histories: calls made by several threads at once, and whether some order of their steps explains
// what came of them. An order must keep to time: what had returned before another call began comes
// before it.
// Threads: each function is called by one; Run starts those it needs.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "tests/model/tree_model.h"

namespace airstore::model {

using Program = std::vector<std::vector<Call>>;  // by thread

struct Event {
  Call call;
  Answer answer;
  uint64_t began = 0;  // on a common clock
  uint64_t ended = 0;
};
using History = std::vector<std::vector<Event>>;  // by thread

// Makes up calls. `exchange`: the file systems know RENAME_EXCHANGE.
class Generator {
 public:
  Generator(uint64_t seed, bool exchange) : random_(seed), exchange_(exchange) {}
  Call AnyCall();
  Program AnyProgram(size_t threads, size_t calls);
  // Calls that give the others something to work with.
  std::vector<Call> AnyPrelude();
  mode_t AnyRootMode();

 private:
  uint64_t Below(uint64_t limit) { return random_() % limit; }
  std::string Name();
  std::string Path();

  std::mt19937_64 random_;
  bool exchange_;
};

// Makes the call at a directory, as the calling thread.
Answer Execute(const Call& call, const std::string& root);
// Thread i works at roots[i % roots.size()]; all are views of one directory, which is empty.
History RunAtOnce(const Program& program, const std::vector<std::string>& roots);
// What is below, in the words of TreeModel::Listing().
std::map<std::string, std::string> ListingOf(const std::string& root);

// Whether `start` can have become what is there now (`end`) by this history.
bool IsExplained(const TreeModel& start, const History& history,
                 const std::map<std::string, std::string>& end);
std::string Text(const History& history);

}  // namespace airstore::model
