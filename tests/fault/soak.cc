// SPDX-License-Identifier: Apache-2.0
#include "tests/fault/soak.h"

#include <algorithm>
#include <iostream>
#include <map>

#include "tests/fault/crash_rig.h"

namespace airstore::fault {
namespace {

constexpr char kUsage[] =
    "usage: airstore_fault --soak RUNS [--seed SEED] [--category NAME] [--point NAME]\n"
    "       airstore_fault --points [--seed SEED]\n"
    "       airstore_fault --list\n"
    "       airstore_fault [--gtest_...]\n"
    "Kills the processes of a host under load and compares what the programs were told with what\n"
    "the gateway has. Needs root and /dev/fuse.\n"
    "  --soak RUNS      so many runs, with the seeds SEED, SEED+1, ...; a seed decides all of a "
    "run.\n"
    "                   Stops at the first failure and keeps files and logs, and says where.\n"
    "  --points         one run for each fault point\n"
    "  --list           the names of categories and fault points\n"
    "  --seed SEED      of the first run (1)\n"
    "  --category NAME  kill these processes only\n"
    "  --point NAME     kill there only\n"
    "Without these: the tests, as ctest runs them.\n";

constexpr std::chrono::hours kPatience{24};  // a soak has its own idea of too long

struct Totals {
  uint64_t runs = 0;
  uint64_t at_point = 0;
  uint64_t acknowledged = 0;
  uint64_t changes = 0;
  uint64_t files = 0;
  std::map<std::string, uint64_t> by_category;
};

void Report(const CrashPlan& plan, const CrashResult& result) {
  std::cout << plan.Describe() << "\n    " << result.acknowledged << " acknowledged, "
            << result.at_stake.changes << " changes and " << result.at_stake.files
            << " files at stake"
            << (plan.point ? (result.at_point ? ", killed at the point" : ", POINT NOT REACHED")
                           : "")
            << ", " << result.took.count() << " ms" << std::endl;
}

bool RunOne(CrashRig& rig, const CrashPlan& plan, Totals& totals) {
  CrashResult result;
  try {
    result = rig.Run(plan);
  } catch (const std::exception& error) {
    result.problems.push_back(error.what());
  }
  Report(plan, result);
  ++totals.runs;
  totals.at_point += result.at_point ? 1 : 0;
  totals.acknowledged += result.acknowledged;
  totals.changes += result.at_stake.changes;
  totals.files += result.at_stake.files;
  ++totals.by_category[plan.category->name];
  for (const std::string& problem : result.problems) std::cout << "  FAILED " << problem << "\n";
  return result.problems.empty();
}

void Summarize(const Totals& totals) {
  std::cout << totals.runs << " runs (";
  for (const auto& [name, count] : totals.by_category) std::cout << name << " " << count << ", ";
  std::cout << "at a fault point " << totals.at_point << "), " << totals.acknowledged
            << " acknowledged calls, " << totals.changes << " changes and " << totals.files
            << " files at stake\n";
}

int List() {
  for (const Category& category : Categories()) std::cout << "category " << category.name << "\n";
  for (const char* name : kFaultPointNames) std::cout << "point " << name << "\n";
  return 0;
}

// The one that kills the least.
const Category* CategoryOf(FaultPoint point) {
  for (const Category& category : Categories()) {
    const auto points = PointsOf(category);
    if (std::find(points.begin(), points.end(), point) != points.end()) return &category;
  }
  return nullptr;
}

struct Order {
  uint64_t runs = 0;
  uint64_t seed = 1;
  bool points = false;
  bool list = false;
  const Category* category = nullptr;
  std::optional<FaultPoint> point;
};

bool Parse(const std::vector<std::string>& arguments, Order* order) {
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    if (word == "--points" || word == "--list") {
      (word == "--points" ? order->points : order->list) = true;
      continue;
    }
    if (++i == arguments.size()) return false;
    const std::string& value = arguments[i];
    const bool number =
        !value.empty() && value.find_first_not_of("0123456789") == std::string::npos;
    if (word == "--soak" && number) {
      order->runs = std::stoull(value);
    } else if (word == "--seed" && number) {
      order->seed = std::stoull(value);
    } else if (word == "--category") {
      order->category = FindCategory(value);
      if (order->category == nullptr) return false;
    } else if (word == "--point") {
      order->point = FindPoint(value);
      if (!order->point) return false;
      order->category = CategoryOf(*order->point);
    } else {
      return false;
    }
  }
  return order->list || order->points || order->runs != 0;
}

std::vector<CrashPlan> PlansOf(const Order& order) {
  std::vector<CrashPlan> plans;
  if (order.points) {
    for (uint32_t i = 0; i < kFaultPoints; ++i) {
      const auto point = static_cast<FaultPoint>(i);
      plans.push_back(PlanOf(order.seed + i, CategoryOf(point), point));
    }
  }
  for (uint64_t i = 0; i < order.runs; ++i) {
    plans.push_back(PlanOf(order.seed + i, order.category, order.point));
  }
  return plans;
}

}  // namespace

bool WantsSoak(const std::vector<std::string>& arguments) {
  for (const std::string& word : arguments) {
    for (const char* ours : {"--soak", "--points", "--list", "--help", "-h"}) {
      if (word == ours) return true;
    }
  }
  return false;
}

int RunSoak(const std::vector<std::string>& arguments) {
  if (arguments.size() == 1 && (arguments[0] == "--help" || arguments[0] == "-h")) {
    std::cout << kUsage;
    return 0;
  }
  Order order;
  if (!Parse(arguments, &order)) {
    std::cerr << kUsage;
    return 2;
  }
  if (order.list) return List();
  if (const std::string missing = e2e::WhatIsMissing(); !missing.empty()) {
    std::cerr << "airstore_fault: " << missing << "\n";
    return 2;
  }
  CrashRig rig{std::chrono::duration_cast<std::chrono::seconds>(kPatience)};
  Totals totals;
  bool held = true;
  for (const CrashPlan& plan : PlansOf(order)) {
    held = RunOne(rig, plan, totals);
    if (!held) {
      rig.Keep();
      std::cout << "everything is kept in " << rig.directory() << "\n";
      break;
    }
  }
  Summarize(totals);
  return held ? 0 : 1;
}

}  // namespace airstore::fault
