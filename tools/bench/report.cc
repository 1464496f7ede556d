// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/report.h"

#include <sys/utsname.h>

#include <cstdarg>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

namespace airstore::bench {
namespace {

[[gnu::format(printf, 1, 2)]] std::string Format(const char* format, ...) {
  char text[256];
  va_list arguments;
  va_start(arguments, format);
  // NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): va_start is the line above
  vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  return text;
}

// Time of one operation, for the units that count operations.
std::string TimePerOperation(const std::string& unit, double rate) {
  if (unit == "MiB/s" || rate <= 0) return "";
  const double us = 1e6 / rate;
  if (us < 1e3) return Format("%.2f us", us);
  if (us < 1e6) return Format("%.2f ms", us / 1e3);
  return Format("%.2f s", us / 1e6);
}

std::string FormatRate(double rate) {
  if (rate >= 1000) return Format("%.0f", rate);
  return rate >= 10 ? Format("%.1f", rate) : Format("%.3f", rate);
}

double RatioOf(const std::map<std::string, Summary>& by_target, const std::string& product,
               const std::string& other) {
  const auto left = by_target.find(product);
  const auto right = by_target.find(other);
  if (left == by_target.end() || right == by_target.end() || right->second.median <= 0) return 0;
  return left->second.median / right->second.median;
}

nlohmann::json Machine() {
  utsname name{};
  uname(&name);
  return {{"kernel", name.release},
          {"architecture", name.machine},
          {"cpus", std::thread::hardware_concurrency()}};
}

}  // namespace

SummaryTable Summaries(const std::vector<WorkloadResult>& results) {
  SummaryTable table;
  for (const WorkloadResult& result : results) {
    for (const auto& [target, values] : result.values) {
      table[result.name][target] = Summarize(values);
    }
  }
  return table;
}

std::vector<std::string> NoiseWarnings(const std::vector<WorkloadResult>& results) {
  std::vector<std::string> warnings;
  for (const auto& [workload, by_target] : Summaries(results)) {
    for (const auto& [target, summary] : by_target) {
      if (summary.spread <= kNoisySpread) continue;
      warnings.push_back(
          Format("noise: %s on %s spreads by %.0f %%: do not trust small differences",
                 workload.c_str(), target.c_str(), summary.spread * 100));
    }
  }
  return warnings;
}

std::string FormatTable(const Report& report) {
  const SummaryTable summaries = Summaries(report.results);
  const std::string ratio_title = report.product.empty() ? "" : report.product + "/this";
  std::string text = Format("%-14s %-10s %12s %-6s %12s %7s %14s\n", "workload", "target", "median",
                            "unit", "time/op", "spread", ratio_title.c_str());
  for (const WorkloadResult& result : report.results) {
    if (!result.skipped.empty()) {
      text += Format("%-14s skipped: %s\n", result.name.c_str(), result.skipped.c_str());
      continue;
    }
    const auto& by_target = summaries.at(result.name);
    for (const std::string& target : report.targets) {
      const Summary& summary = by_target.at(target);
      const double ratio = RatioOf(by_target, report.product, target);
      text += Format("%-14s %-10s %12s %-6s %12s %6.0f%% %14s\n", result.name.c_str(),
                     target.c_str(), FormatRate(summary.median).c_str(), result.unit.c_str(),
                     TimePerOperation(result.unit, summary.median).c_str(), summary.spread * 100,
                     ratio > 0 ? Format("%.3f", ratio).c_str() : "");
    }
  }
  for (const std::string& warning : report.warnings) text += "warning: " + warning + "\n";
  for (const Verdict& verdict : report.verdicts) text += verdict.message + "\n";
  return text;
}

Result<void> WriteJson(const Report& report, const std::string& path) {
  nlohmann::json json = {{"version", 1},
                         {"machine", Machine()},
                         {"rounds", report.rounds},
                         {"file_mib", report.file_mib},
                         {"product", report.product},
                         {"warnings", report.warnings}};
  const SummaryTable summaries = Summaries(report.results);
  for (const WorkloadResult& result : report.results) {
    nlohmann::json& workload = json["workloads"][result.name];
    workload["unit"] = result.unit;
    if (!result.skipped.empty()) workload["skipped"] = result.skipped;
    for (const auto& [target, values] : result.values) {
      const auto& by_target = summaries.at(result.name);
      const Summary& summary = by_target.at(target);
      nlohmann::json entry = {{"median", summary.median},
                              {"min", summary.min},
                              {"max", summary.max},
                              {"spread", summary.spread},
                              {"values", values}};
      const double ratio = RatioOf(by_target, report.product, target);
      if (ratio > 0) entry["product_ratio"] = ratio;
      workload["targets"][target] = std::move(entry);
    }
  }
  json["asserts"] = nlohmann::json::array();
  for (const Verdict& verdict : report.verdicts) {
    json["asserts"].push_back(
        {{"assert", verdict.assertion.ToString()}, {"met", verdict.met}, {"ratio", verdict.ratio}});
  }
  std::ofstream out(path);
  out << json.dump(2) << '\n';
  if (!out.flush()) return SysError("write " + path, EIO);
  return {};
}

}  // namespace airstore::bench
