// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "shm/base/fd.h"
#include "shm/counters.h"
#include "shm/layout.h"
#include "shm/segment.h"
#include "tools/airctl/debug.h"
#include "tools/airctl/format.h"
#include "tools/airctl/json_output.h"
#include "tools/airctl/table.h"

namespace airstore::airctl {
namespace {

namespace wire = control::v1;

// Each word by itself, as it is at that moment.
void Describe(const shm::LaneLayout& lane, wire::LaneReport* to) {
  uint64_t queued = 0;
  for (const shm::QueueRecord& record : lane.queue) {
    queued = std::max(queued, record.position.load(std::memory_order_relaxed));
  }
  to->set_queued(queued);
  to->set_applied(lane.cursors.applied.load(std::memory_order_relaxed));
  to->set_taken(lane.cursors.taken.load(std::memory_order_relaxed));
  to->set_broker_sleeps(lane.cursors.broker_sleeps.load(std::memory_order_relaxed) != 0);
  to->set_frontend_waits(lane.cursors.frontend_waits.load(std::memory_order_relaxed) != 0);
  to->set_writes_wait(lane.cursors.write_gate.load(std::memory_order_relaxed) ==
                      shm::kWriteGateClosed);
  for (const shm::RequestSlot& slot : lane.slots) {
    const auto state = shm::StateOf(slot.state.load(std::memory_order_relaxed));
    if (state == shm::SlotState::kSubmitted) to->set_calls_waiting(to->calls_waiting() + 1);
    if (state == shm::SlotState::kDone) to->set_calls_answered(to->calls_answered() + 1);
  }
  for (const shm::HazardSlot& hazard : lane.hazards) {
    if (hazard.extent.load(std::memory_order_relaxed) != 0) to->set_hazards(to->hazards() + 1);
  }
  for (const shm::RequestTrace& trace : lane.traces) {
    if (trace.unique.load(std::memory_order_relaxed) != 0) to->set_requests(to->requests() + 1);
  }
  for (uint32_t i = 0; i < shm::kCounterCount; ++i) {
    (*to->mutable_counters())[shm::kCounterNames[i]] =
        lane.counters[i].load(std::memory_order_relaxed);
  }
}

void Look(const std::string& path, wire::LaneReport* to) {
  to->set_file(path);
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return to->set_problem("it cannot be opened");
  shm::SegmentHeader header{};
  if (pread(fd.get(), static_cast<void*>(&header), sizeof header, 0) != sizeof header) {
    return to->set_problem("it is too short");
  }
  to->set_abi_major(header.abi_major);
  to->set_abi_minor(header.abi_minor);
  to->set_creator_pid(header.creator_pid);
  shm::Segment::Identity identity{shm::SegmentKind::kLane, {}, header.index};
  std::copy(std::begin(header.session_id), std::end(header.session_id), identity.session.begin());
  auto segment = shm::Segment::Attach(std::move(fd), identity, false);
  if (!segment) return to->set_problem(segment.error().ToString());
  if ((*segment)->size() < sizeof(shm::LaneLayout)) return to->set_problem("it is too short");
  Describe(*(*segment)->At<const shm::LaneLayout>(0), to);
}

}  // namespace

Outcome<wire::ShmReport> LookAtLanes(const std::string& state_dir) {
  const auto sessions = SessionsIn(state_dir);
  if (!sessions.value) return sessions.failure;
  wire::ShmReport report;
  for (const SessionDirectory& session : *sessions.value) {
    std::vector<std::string> lanes;
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(session.path, ignored)) {
      if (entry.path().filename().string().rfind("lane-", 0) == 0) lanes.push_back(entry.path());
    }
    std::sort(lanes.begin(), lanes.end());
    for (const std::string& lane : lanes) Look(lane, report.add_lanes());
  }
  return report;
}

std::optional<Failure> DebugShm(const Invocation& asked, const Surroundings& around) {
  const auto report = LookAtLanes(StateDirectory(asked, around.getenv));
  if (!report.value) return report.failure;
  if (asked.json) {
    around.out << ToJson(*report.value) << "\n";
    return {};
  }
  Table table({"LANE", "QUEUED>", "APPLIED>", "CALLS>", "ANSWERED>", "REQUESTS>", "BROKER",
               "FRONTEND", "WRITES", "PROBLEM"});
  for (const wire::LaneReport& lane : report.value->lanes()) {
    const std::filesystem::path file(lane.file());
    table.Add({file.parent_path().filename().string().substr(0, 8) + "/" + file.filename().string(),
               std::to_string(lane.queued()), std::to_string(lane.applied()),
               std::to_string(lane.calls_waiting()), std::to_string(lane.calls_answered()),
               std::to_string(lane.requests()), lane.broker_sleeps() ? "sleeps" : "awake",
               lane.frontend_waits() ? "waits" : "runs", lane.writes_wait() ? "wait" : "pass",
               lane.problem()});
  }
  table.Print(around.out, around.colours);
  return {};
}

}  // namespace airstore::airctl
