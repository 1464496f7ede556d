// SPDX-License-Identifier: Apache-2.0
//
// Compressor: what sources say, made shorter for clients that ask for it.
//
//   strip    without what says nothing to a reader (strip.h)
//   distill  by a program of this host, which is given the text and answers a shorter one
//   chain    strip, then distill; without such a program, strip
//
// What cannot be made shorter, takes too long or fails is handed out as it is; `outcome` says so.
// Results are kept for a while: the ranges of one are asked for one by one.
//
// Threads: any.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tools/gateway/clock.h"
#include "tools/gateway/sources/source_set.h"

namespace airstore::gateway {

struct Compressed {
  SourceContent content;
  std::string outcome;  // compressed, cache_hit, skipped, timeout, error
  int64_t original_bytes = 0;
  int64_t took_ms = 0;
};

// About as many as a language model would count.
inline int64_t EstimatedTokens(int64_t bytes) { return (bytes + 3) / 4; }

class Compressor {
 public:
  // `distill`: the program, and its arguments; none: there is none.
  explicit Compressor(std::vector<std::string> distill, int64_t seconds = 10)
      : distill_(std::move(distill)), seconds_(seconds) {}

  // From what was kept for the key, which says what the content is of; nullptr: nothing is.
  std::shared_ptr<const Compressed> Find(const std::string& strategy, const std::string& key);
  std::shared_ptr<const Compressed> Compress(const std::string& strategy, const std::string& key,
                                             SourceContent content);

 private:
  Compressed Make(const std::string& strategy, SourceContent content);
  // 0; ETIME; or it failed.
  int Distill(const std::string& text, std::string* out) const;
  void Keep(const std::string& name, std::shared_ptr<const Compressed> made);

  const std::vector<std::string> distill_;
  const int64_t seconds_;
  std::mutex mu_;
  // Guarded by mu_.
  std::map<std::string, std::shared_ptr<const Compressed>> kept_;
  std::deque<std::pair<SteadyTime, std::string>> order_;
  size_t bytes_ = 0;
};

}  // namespace airstore::gateway
