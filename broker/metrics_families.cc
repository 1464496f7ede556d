// SPDX-License-Identifier: Apache-2.0
#include "broker/metrics_families.h"

#include <prometheus/text_serializer.h>

#include <limits>
#include <utility>

namespace airstore::broker {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

// Of a histogram: every second power of two, from about a microsecond to half a minute.
constexpr size_t kFirstBound = 10;
constexpr size_t kLastBound = 34;

}  // namespace

void MetricsFamilies::Counter(const char* name, const char* help, uint64_t value, Labels labels) {
  ClientMetric& metric = Add(name, help, MetricType::Counter, std::move(labels));
  metric.counter.value = static_cast<double>(value);
}

void MetricsFamilies::Gauge(const char* name, const char* help, double value, Labels labels) {
  Add(name, help, MetricType::Gauge, std::move(labels)).gauge.value = value;
}

void MetricsFamilies::Bytes(const char* name, const char* help, uint64_t value, Labels labels) {
  Gauge(name, help, static_cast<double>(value), std::move(labels));
}

void MetricsFamilies::Histogram(const char* name, const char* help,
                                std::span<const uint64_t> counts, Labels labels) {
  ClientMetric& metric = Add(name, help, MetricType::Histogram, std::move(labels));
  uint64_t seen = 0;
  for (size_t b = 0; b < counts.size(); ++b) {
    seen += counts[b];
    const auto least = static_cast<double>(1ull << b);
    metric.histogram.sample_sum += static_cast<double>(counts[b]) * 1.5 * least / 1e9;
    const size_t bound = b + 1;
    if (bound < kFirstBound || bound > kLastBound || bound % 2 != 0) continue;
    metric.histogram.bucket.push_back({seen, 2 * least / 1e9});
  }
  metric.histogram.sample_count = seen;
  metric.histogram.bucket.push_back({seen, std::numeric_limits<double>::infinity()});
}

std::string MetricsFamilies::Text() const {
  std::vector<MetricFamily> all;
  for (const std::string& name : order_) all.push_back(families_.at(name));
  return prometheus::TextSerializer().prometheus::Serializer::Serialize(all);
}

ClientMetric& MetricsFamilies::Add(const char* name, const char* help, MetricType type,
                                   Labels labels) {
  const auto [at, made] = families_.try_emplace(name, MetricFamily{name, help, type, {}});
  if (made) order_.push_back(name);
  ClientMetric& metric = at->second.metric.emplace_back();
  metric.label = std::move(labels);
  return metric;
}

}  // namespace airstore::broker
