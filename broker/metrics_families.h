// SPDX-License-Identifier: Apache-2.0
//
// MetricsFamilies: numbers and their names, as the text that Prometheus reads. Of its library only
// the core is used, which writes the text.
// Threads: one at a time.
#pragma once

#include <prometheus/metric_family.h>

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace airstore::broker {

class MetricsFamilies {
 public:
  using Labels = std::vector<prometheus::ClientMetric::Label>;

  // The names of counters end in _total, as Prometheus wants them to. The first `help` of a name
  // counts.
  void Counter(const char* name, const char* help, uint64_t value, Labels labels = {});
  void Gauge(const char* name, const char* help, double value, Labels labels = {});
  void Bytes(const char* name, const char* help, uint64_t value, Labels labels = {});
  // Element b of `counts` says how often it took [2^b, 2^(b+1)) nanoseconds. The sum is an
  // estimate.
  void Histogram(const char* name, const char* help, std::span<const uint64_t> counts,
                 Labels labels = {});
  std::string Text() const;

 private:
  prometheus::ClientMetric& Add(const char* name, const char* help, prometheus::MetricType type,
                                Labels labels);

  std::map<std::string, prometheus::MetricFamily> families_;
  std::vector<std::string> order_;
};

}  // namespace airstore::broker
