// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/assertion.h"

#include <charconv>
#include <cmath>
#include <cstdio>

namespace airstore::bench {
namespace {

struct Budget {
  const char* workload;
  double ratio;
  const char* other;
  const char* variant = "";  // of the product: what its target's name ends in
};

// Two comparisons are not with the file system that one would expect.
// Cached names: the kernel walks a path of a FUSE mount by more and larger objects than one of
// ext4, whoever serves it, so a server can only be measured by the least of them.
// Random writes: what the store lies on decides, so each store is compared with its own kind.

// What the product must reach with its data path in place.
constexpr Budget kFoundation[] = {
    {"seq_read_1m", 0.8, "tmpfs"},           {"seq_write_1m", 0.8, "ext4"},
    {"rand_read_4k", 0.5, "tmpfs"},          {"rand_write_4k", 0.7, "ext4"},
    {"rand_write_4k", 0.5, "tmpfs", "-mem"}, {"small_files", 0.8, "null"},
    {"create_cycle", 0.4, "null"},           {"stat_cached", 0.95, "null"},
};

// What it must reach in the end.
constexpr Budget kFinal[] = {
    {"warm_read_1m", 0.95, "ext4"}, {"seq_read_1m", 0.9, "tmpfs"},
    {"seq_write_1m", 0.9, "ext4"},  {"rand_read_4k", 0.65, "tmpfs"},
    {"rand_write_4k", 0.8, "ext4"}, {"rand_write_4k", 0.65, "tmpfs", "-mem"},
    {"small_files", 0.9, "null"},   {"create_cycle", 0.7, "null"},
    {"stat_cached", 0.95, "null"},  {"readdir_10k", 1.0, "ext4"},
};

// Of a mount that is far from its gateway and holds the lease, against one that is near.
constexpr Budget kDistance[] = {
    {"unpack_10k", 1 / 1.5, "-near"},
    {"clone_50m", 1 / 1.5, "-near"},
    {"create_cycle", 0.8, "-near"},
};

// Of large trees in memory.
constexpr Budget kLarge[] = {
    {"readdir_100k", 0.5, "ext4"},
    {"find_50k", 0.5, "ext4"},
};

std::string Format(const char* format, double value) {
  char text[64];
  snprintf(text, sizeof(text), format, value);
  return text;
}

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

template <size_t N>
std::vector<Assertion> ForProduct(const Budget (&budgets)[N], const std::string& product) {
  std::vector<Assertion> assertions;
  for (const Budget& budget : budgets) {
    const std::string other = budget.other[0] == '-' ? product + budget.other : budget.other;
    assertions.push_back({budget.workload, product + budget.variant, budget.ratio, other});
  }
  return assertions;
}

}  // namespace

std::string Assertion::ToString() const {
  return workload + ":" + target + ">=" + Format("%.3g", ratio) + "*" + other;
}

Result<Assertion> ParseAssertion(std::string_view text) {
  const Error bad{EINVAL,
                  "assertion '" + std::string(text) + "' is not WORKLOAD:TARGET>=RATIO*OTHER"};
  const size_t colon = text.find(':');
  const size_t compare = text.find(">=");
  const size_t star = text.find('*');
  if (colon == std::string_view::npos || compare == std::string_view::npos ||
      star == std::string_view::npos || colon > compare || compare > star) {
    return bad;
  }
  const std::string_view number = Trim(text.substr(compare + 2, star - compare - 2));
  Assertion result;
  result.workload = Trim(text.substr(0, colon));
  result.target = Trim(text.substr(colon + 1, compare - colon - 1));
  result.other = Trim(text.substr(star + 1));
  const auto [end, error] =
      std::from_chars(number.data(), number.data() + number.size(), result.ratio);
  if (error != std::errc() || end != number.data() + number.size() ||
      !std::isfinite(result.ratio) || result.ratio <= 0 || result.workload.empty() ||
      result.target.empty() || result.other.empty()) {
    return bad;
  }
  return result;
}

Result<std::vector<Assertion>> ProfileAssertions(std::string_view profile,
                                                 const std::string& product) {
  if (profile == "foundation") return ForProduct(kFoundation, product);
  if (profile == "final") return ForProduct(kFinal, product);
  if (profile == "distance") return ForProduct(kDistance, product);
  if (profile == "large") return ForProduct(kLarge, product);
  return Error{EINVAL, "profile '" + std::string(profile) +
                           "' is unknown (known: foundation, final, distance, large)"};
}

Verdict Judge(const Assertion& assertion, const SummaryTable& results) {
  Verdict verdict;
  verdict.assertion = assertion;
  const auto median_of = [&](const std::string& target) {
    const auto workload = results.find(assertion.workload);
    if (workload == results.end()) return 0.0;
    const auto found = workload->second.find(target);
    return found == workload->second.end() ? 0.0 : found->second.median;
  };
  const double left = median_of(assertion.target);
  const double right = median_of(assertion.other);
  if (left <= 0 || right <= 0) {
    verdict.message = "NOT JUDGED " + assertion.ToString() + ": no result for " +
                      (left <= 0 ? assertion.target : assertion.other);
    return verdict;
  }
  verdict.ratio = left / right;
  verdict.met = verdict.ratio >= assertion.ratio;
  verdict.message = std::string(verdict.met ? "ok         " : "NOT MET    ") +
                    assertion.ToString() + ": measured " + Format("%.3f", verdict.ratio);
  return verdict;
}

}  // namespace airstore::bench
