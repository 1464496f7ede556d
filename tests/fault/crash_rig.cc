// SPDX-License-Identifier: Apache-2.0
#include "tests/fault/crash_rig.h"

#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "tests/e2e/support/files.h"
#include "tests/fault/ack_log.h"
#include "tests/fault/gateway_audit.h"
#include "tests/fault/tree_process.h"

namespace airstore::fault {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int kSessionSeconds = 5;
constexpr int kGarbageSeconds = 10;
constexpr int64_t kAlways = 1ll << 40;

void Sleep(uint64_t ms) { std::this_thread::sleep_for(milliseconds(ms)); }

std::vector<pid_t> FrontendsOf(const std::string& mountpoint) {
  std::vector<pid_t> pids;
  for (const std::string& name : e2e::NamesIn("/proc")) {
    const pid_t pid = atoi(name.c_str());
    if (pid <= 0) continue;
    std::ifstream file("/proc/" + name + "/cmdline");
    std::string program;
    std::string argument;
    std::getline(file, program, '\0');
    std::getline(file, argument, '\0');
    if (program.ends_with("/airstore-fuse") && argument == mountpoint) pids.push_back(pid);
  }
  return pids;
}

}  // namespace

struct CrashRig::Scene {
  const CrashPlan& plan;
  std::mt19937_64 random;
  std::string workspace;
  std::string mount;
  std::vector<std::unique_ptr<Load>> loads;
  std::vector<pid_t> frontends;  // at the kill
  uint64_t restarts = 0;         // of the frontend, before the kill
  CrashResult result;

  uint64_t Below(uint64_t limit) { return random() % limit; }
  void BeginEnd() {
    for (const auto& load : loads) load->BeginEnd();
  }
  void Join() {
    for (const auto& load : loads) load->Join();
  }
  void Problem(const std::string& text) { result.problems.push_back(text); }
};

CrashRig::CrashRig(seconds patience) {
  e2e::HostOptions options;
  options.gateway_arguments = {"--session-seconds", std::to_string(kSessionSeconds), "--gc-grace",
                               std::to_string(kGarbageSeconds)};
  options.patience = patience;
  options.environment = {{"AIRSTORE_FAULT", board_.path()}};
  options.one_gateway = true;  // whose death is waited for
  host_ = std::make_unique<e2e::Host>(std::move(options));
  other_ = std::make_unique<e2e::OtherBroker>(*host_);
}

CrashResult CrashRig::Run(const CrashPlan& plan) {
  const auto begun = e2e::Now();
  Scene scene{.plan = plan,
              .random = std::mt19937_64(plan.seed ^ 0x5eed),
              .workspace = "run" + std::to_string(++runs_),
              .mount = {},
              .loads = {},
              .frontends = {},
              .restarts = 0,
              .result = {}};
  host_->CreateWorkspace(scene.workspace);
  scene.mount =
      host_->Mount(scene.workspace, "mnt",
                   plan.passthrough ? e2e::Arguments{} : e2e::Arguments{"--passthrough", "off"});
  StartLoads(scene);
  Kill(scene);
  Recover(scene);
  JudgeErrors(scene);
  Verify(scene);
  for (const auto& load : scene.loads) scene.result.acknowledged += load->acknowledged();
  scene.result.took = std::chrono::duration_cast<milliseconds>(e2e::Now() - begun);
  return scene.result;
}

void CrashRig::StartLoads(Scene& scene) {
  const CrashPlan& plan = scene.plan;
  scene.loads.push_back(MakeTreeProcess(scene.mount, host_->Path(scene.workspace + "-tree"),
                                        plan.seed, plan.passthrough));
  for (const std::string& kind : plan.loads) {
    scene.loads.push_back(MakeLoggedLoad(
        kind, scene.mount, host_->Path(scene.workspace + "-" + kind), plan.seed, plan.passthrough));
  }
  for (const auto& load : scene.loads) load->Start();
  for (const auto& load : scene.loads) {
    const bool works = e2e::WaitUntil(seconds(30), [&] { return load->acknowledged() > 2; });
    if (!works) scene.Problem(load->name() + " does not get going");
  }
  // From here on there is always something that the gateway does not have.
  board_.Arm(FaultPoint::kGatewayBeforeCommit, FaultAction::kDelay, plan.commit_ms, 0, kAlways);
  Sleep(plan.load_ms);
}

bool CrashRig::AwaitFired(const CrashPlan& plan, uint64_t before) {
  // Garbage is collected when its time has come.
  const bool collector = *plan.point == FaultPoint::kGatewayGarbageMarked ||
                         *plan.point == FaultPoint::kGatewayGarbageDeleted;
  const seconds patience(collector ? 3 * kGarbageSeconds : 6);
  const bool fired = e2e::WaitUntil(patience, [&] { return board_.fired(*plan.point) > before; });
  if (!fired) board_.Disarm(*plan.point);
  // It may have fired in between.
  return board_.fired(*plan.point) > before;
}

void CrashRig::Kill(Scene& scene) {
  const CrashPlan& plan = scene.plan;
  const auto status = host_->MountStatus(scene.mount);
  scene.restarts = status.at("frontend_restarts").get<uint64_t>();
  scene.frontends = host_->FrontendPids();
  if (plan.point && !plan.during_recovery) {
    const uint64_t before = board_.fired(*plan.point);
    board_.Arm(*plan.point, FaultAction::kKill, plan.dying_ms, plan.skip, 1);
    scene.result.at_point = AwaitFired(plan, before);
    // While a frontend dies the broker goes on sending.
    if (!plan.category->broker) scene.result.at_stake = StakeOfLiving(scene.workspace);
    if (scene.result.at_point) Sleep(plan.dying_ms);
  }
  KillRest(scene);
}

// In any order, and at once or one after the other.
void CrashRig::KillRest(Scene& scene) {
  const Category& category = *scene.plan.category;
  const uint64_t gap = scene.Below(2) == 0 ? 0 : scene.Below(30);
  std::vector<int> order = {0, 1, 2};
  std::shuffle(order.begin(), order.end(), scene.random);
  const bool point_is_frontends = scene.result.at_point && ProcessOf(*scene.plan.point, "frontend");
  for (const int process : order) {
    if (process == 0 && category.frontends) {
      if (!point_is_frontends || category.broker) {
        for (const pid_t pid : scene.frontends) kill(pid, SIGKILL);
      }
    } else if (process == 1 && category.broker) {
      host_->KillBroker();
    } else if (process == 2 && category.gateway) {
      host_->KillGateway();
    } else {
      continue;
    }
    Sleep(gap);
  }
  if (category.broker) {
    // Also one that has just been started in place of another: nobody is left to start more.
    if (category.frontends) {
      for (const pid_t pid : FrontendsOf(scene.mount)) kill(pid, SIGKILL);
    } else {
      Sleep(scene.Below(150));
    }
    scene.result.at_stake = ReadAtStake(host_->Path("state"));
  } else if (scene.result.at_stake.total() == 0) {
    scene.result.at_stake = StakeOfLiving(scene.workspace);
  }
  if (scene.result.at_stake.total() == 0) scene.Problem("there was nothing at stake");
}

AtStake CrashRig::StakeOfLiving(const std::string& workspace) {
  const auto session = host_->SessionStatus(workspace);
  return {.changes = session.at("pending_mutations").get<uint64_t>(),
          .files = session.at("dirty_bytes").get<uint64_t>() != 0 ? 1u : 0u};
}

void CrashRig::StartBrokerToDie(Scene& scene) {
  const CrashPlan& plan = scene.plan;
  if (!plan.during_recovery) {
    host_->StartBroker();
    Sleep(scene.Below(40));
    host_->KillBroker();
    return;
  }
  const uint64_t before = board_.fired(*plan.point);
  board_.Arm(*plan.point, FaultAction::kKill, plan.dying_ms, 0, 1);
  try {
    host_->StartBroker();
  } catch (const std::exception&) {  // it was quick to come to the point
  }
  scene.result.at_point = AwaitFired(plan, before);
  host_->KillBroker();
}

void CrashRig::Restart(Scene& scene) {
  const CrashPlan& plan = scene.plan;
  const bool gateway_first = scene.Below(2) == 0 || plan.during_recovery;
  if (plan.category->gateway && gateway_first) host_->StartGateway();
  if (plan.category->broker) {
    if (plan.host_lost) {
      scene.BeginEnd();
      // Whoever serves it: a frontend may just have been replaced.
      (void)umount2(scene.mount.c_str(), MNT_FORCE);
      e2e::UnmountAllBelow(scene.mount);
      host_->WipeBrokerState();
    }
    if (plan.killed_twice && !plan.host_lost) StartBrokerToDie(scene);
    host_->StartBroker();
  }
  if (plan.category->gateway && !gateway_first) {
    Sleep(scene.Below(200));
    host_->StartGateway();
  }
}

// A connection that failed while there was no gateway pauses before it is tried again.
void CrashRig::MountAgain(Scene& scene) {
  const auto deadline = e2e::Now() + seconds(20);
  for (;;) {
    try {
      scene.mount = host_->Mount(scene.workspace, "mnt");
      return;
    } catch (const std::exception&) {
      if (!scene.plan.category->gateway || e2e::Now() > deadline) throw;
    }
    Sleep(200);
  }
}

bool CrashRig::ServesAgain(const Scene& scene) {
  try {
    const auto status = host_->MountStatus(scene.mount);
    const bool other = status.at("frontend_restarts").get<uint64_t>() > scene.restarts;
    return status.at("state") == "ready" && (other || !scene.plan.category->frontends);
  } catch (const std::exception&) {  // the broker does not know of it (yet)
    return false;
  }
}

void CrashRig::Recover(Scene& scene) {
  const Category& category = *scene.plan.category;
  Restart(scene);
  if (category.mount_survives && !e2e::WaitUntil(seconds(30), [&] { return ServesAgain(scene); })) {
    scene.Problem("the mount is not served any more");
  }
  if (category.mount_survives) Sleep(50 + scene.Below(100));
  scene.Join();
  if (!category.mount_survives) {
    MountAgain(scene);
  }
  board_.Disarm(FaultPoint::kGatewayBeforeCommit);
}

void CrashRig::JudgeErrors(Scene& scene) {
  const auto& allowed = scene.plan.category->allowed_errors;
  for (const auto& load : scene.loads) {
    for (const LoadError& error : load->errors()) {
      if (error.code != 0 &&
          std::find(allowed.begin(), allowed.end(), error.code) != allowed.end()) {
        continue;
      }
      scene.Problem(load->name() + " saw: " + error.what);
    }
  }
}

void CrashRig::Verify(Scene& scene) {
  host_->Unmount(scene.mount);
  const std::string fresh = other_->Mount(scene.workspace, "check");
  // First: SQLite clears up when it looks at its database.
  const std::string audit = GatewayAudit(*host_, scene.workspace, fresh);
  if (!audit.empty()) scene.Problem(audit);
  for (const auto& load : scene.loads) {
    const Kept kept = scene.plan.host_lost ? Kept::kSynced : Kept::kAcknowledged;
    const std::string wrong = load->Check(fresh, kept);
    if (!wrong.empty()) scene.Problem(load->name() + ": " + wrong);
  }
  other_->Unmount(fresh);
  if (e2e::Exists(host_->Path("state/spool/lost+found"))) {
    scene.Problem("something was refused: see state/spool/lost+found");
  }
}

}  // namespace airstore::fault
