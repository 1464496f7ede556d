// SPDX-License-Identifier: Apache-2.0
#include "tests/fault/crash_plan.h"

#include <cerrno>
#include <random>

#include "tests/e2e/support/environment.h"
#include "tests/fault/switchboard.h"

namespace airstore::fault {
namespace {

// Of a mount that has ended: the kernel's answers to calls under way and later ones, a name that is
// looked for below the mount point's own directory, a write to a file that is being recovered, a
// store to a map of it.
const std::vector<int> kMountEnds = {ENOTCONN, ECONNABORTED, EIO, ENOENT, EPERM, EFAULT};

bool Is(FaultPoint point, std::initializer_list<FaultPoint> points) {
  for (const FaultPoint other : points) {
    if (point == other) return true;
  }
  return false;
}

bool OfRecovery(FaultPoint point) {
  return Is(point, {FaultPoint::kJournalSegmentNamed, FaultPoint::kJournalRewriteUnended,
                    FaultPoint::kJournalRewritten, FaultPoint::kRecoveryLanesApplied,
                    FaultPoint::kRecoveryResumed, FaultPoint::kRecoverySent,
                    FaultPoint::kRecoveryContentRemoved});
}

}  // namespace

// The failure matrix.
const std::vector<Category>& Categories() {
  static const std::vector<Category> categories = {
      {.name = "frontend", .frontends = true, .mount_survives = true},
      {.name = "gateway", .gateway = true, .mount_survives = true},
      {.name = "broker", .broker = true, .mount_survives = true},
      {.name = "broker+frontends", .frontends = true, .broker = true, .allowed_errors = kMountEnds},
      {.name = "all",
       .frontends = true,
       .broker = true,
       .gateway = true,
       .allowed_errors = kMountEnds},
  };
  return categories;
}

const Category* FindCategory(const std::string& name) {
  for (const Category& category : Categories()) {
    if (name == category.name) return &category;
  }
  return nullptr;
}

bool ProcessOf(FaultPoint point, const char* process) {
  const std::string name = NameOf(point);
  const std::string first = name.substr(0, name.find('.'));
  if (first == "frontend" || first == "gateway") return first == process;
  return std::string(process) == "broker";
}

std::optional<FaultPoint> FindPoint(const std::string& name) {
  for (uint32_t i = 0; i < kFaultPoints; ++i) {
    if (name == kFaultPointNames[i]) return static_cast<FaultPoint>(i);
  }
  return {};
}

std::vector<FaultPoint> PointsOf(const Category& category) {
  std::vector<FaultPoint> points;
  for (uint32_t i = 0; i < kFaultPoints; ++i) {
    const auto point = static_cast<FaultPoint>(i);
    // Sessions whose mounts go on are not recovered.
    if (category.mount_survives &&
        Is(point, {FaultPoint::kRecoveryLanesApplied, FaultPoint::kRecoveryResumed,
                   FaultPoint::kRecoverySent, FaultPoint::kRecoveryContentRemoved})) {
      continue;
    }
    // Of mounts of another ABI: none is here.
    if (Is(point, {FaultPoint::kRemapRead, FaultPoint::kRemapInPlace})) continue;
    // Of blocks that are files.
    if (e2e::Scaled() &&
        Is(point, {FaultPoint::kGatewayBlockWritten, FaultPoint::kGatewayBlockNamed})) {
      continue;
    }
    if ((category.frontends && ProcessOf(point, "frontend")) ||
        (category.broker && ProcessOf(point, "broker")) ||
        (category.gateway && ProcessOf(point, "gateway"))) {
      points.push_back(point);
    }
  }
  return points;
}

CrashPlan PlanOf(uint64_t seed, const Category* category, std::optional<FaultPoint> point) {
  std::mt19937_64 random(seed);
  const auto below = [&](uint64_t limit) { return static_cast<uint32_t>(random() % limit); };
  CrashPlan plan;
  plan.seed = seed;
  plan.category = category != nullptr ? category : &Categories()[seed % Categories().size()];
  const bool at_point = below(2) == 0;
  const auto points = PointsOf(*plan.category);
  const FaultPoint any = points[below(points.size())];
  plan.point = point ? point : at_point ? std::optional(any) : std::nullopt;
  plan.passthrough = below(2) == 0;
  plan.killed_twice = plan.category->broker && below(4) == 0;
  plan.host_lost = plan.category->broker && plan.category->frontends && below(6) == 0;
  constexpr uint32_t kCommitMs[] = {1, 5, 20, 60};
  plan.commit_ms = kCommitMs[below(4)];
  plan.load_ms = 20 + below(250);
  plan.skip = below(30);
  plan.dying_ms = below(3) == 0 ? below(40) : 0;
  const std::vector<std::string> kinds = {"blocks", "maps", "manifest", "sqlite", "git"};
  const size_t first = below(kinds.size());
  plan.loads = {kinds[first], kinds[(first + 1 + below(kinds.size() - 1)) % kinds.size()]};
  if (plan.point) {
    if (ProcessOf(*plan.point, "frontend")) plan.skip = below(150);
    plan.during_recovery = OfRecovery(*plan.point);
    if (plan.during_recovery) plan.skip = 0;
    if (std::string(NameOf(*plan.point)).starts_with("log.")) plan.skip %= 6;  // once a batch
    if (Is(*plan.point, {FaultPoint::kContentBeforeWrite, FaultPoint::kContentAfterWrite})) {
      plan.passthrough = false;
    }
    if (*plan.point == FaultPoint::kContentCopying && plan.loads[1] != "blocks") {
      plan.loads[0] = "blocks";  // nothing else copies
    }
    if (Is(*plan.point, {FaultPoint::kGatewayGarbageMarked, FaultPoint::kGatewayGarbageDeleted})) {
      plan.skip = 0;
    }
  }
  if (plan.during_recovery) {
    plan.killed_twice = true;
    plan.host_lost = false;
  }
  return plan;
}

std::string CrashPlan::Describe() const {
  std::string text = "seed " + std::to_string(seed) + ": " + category->name + " killed ";
  if (point) {
    text += std::string("at ") + NameOf(*point) + " (" + std::to_string(skip) + " passed, " +
            std::to_string(dying_ms) + " ms left)";
  } else {
    text += "at a random time";
  }
  if (!passthrough) text += ", without passthrough";
  if (killed_twice) text += ", and again while recovering";
  if (host_lost) text += ", host lost";
  text += ", commits of " + std::to_string(commit_ms) + " ms, tree";
  for (const std::string& load : loads) text += " " + load;
  return text;
}

}  // namespace airstore::fault
