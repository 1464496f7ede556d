// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/store_check.h"

#include <airstore/control/v1/report.pb.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "shm/base/wipe.h"
#include "tools/airctl/client.h"
#include "tools/airctl/format.h"
#include "tools/airctl/json_output.h"
#include "tools/airctl/progress.h"
#include "tools/airctl/table.h"

namespace airstore::airctl {
namespace {

namespace wire = control::v1;

constexpr auto kFirstPause = std::chrono::milliseconds(5);
constexpr auto kMostPause = std::chrono::milliseconds(250);

std::string Count(uint64_t count, const char* one, const char* many) {
  return std::to_string(count) + " " + (count == 1 ? one : many);
}

void Print(std::ostream& out, const wire::StoreDamage& damage, bool repair, bool colours) {
  const Colour colour = damage.repaired() ? Colour::kWarn : Colour::kBad;
  out << Painted(Printable(damage.kind()), colour, colours);
  if (!damage.workspace().empty()) out << "  " << Printable(damage.workspace());
  if (!damage.path().empty()) {
    out << ": " << Printable(damage.path());
  } else if (damage.inode() != 0) {
    out << ": inode " << damage.inode();
  }
  out << "\n    " << Printable(damage.what());
  if (damage.lost_bytes() != 0) {
    out << "; " << HumanBytes(damage.lost_bytes()) << " from byte " << damage.offset() << " on";
  }
  out << "\n";
  if (damage.repaired()) {
    out << "    mended: " << Printable(damage.remedy()) << "\n";
  } else if (damage.remedy().empty()) {
    out << "    nothing can be done about it\n";
  } else if (!repair) {
    out << "    --repair: " << Printable(damage.remedy()) << "\n";
  }
}

void Print(std::ostream& out, const wire::StoreReport& report, bool collect) {
  const wire::StoreTotals& totals = report.totals();
  if (collect) {
    out << "deleted " << Count(totals.removed_blocks(), "block", "blocks") << ", "
        << HumanBytes(totals.removed_bytes()) << " or more\n";
    return;
  }
  if (totals.damages() > static_cast<uint64_t>(report.damages_size())) {
    out << "... and " << totals.damages() - static_cast<uint64_t>(report.damages_size())
        << " more\n";
  }
  out << "checked " << Count(totals.workspaces(), "workspace", "workspaces") << ", "
      << Count(totals.inodes(), "file and directory", "files and directories") << ", "
      << Count(totals.blocks(), "block", "blocks") << ", read "
      << HumanBytes(totals.content_bytes()) << ": ";
  if (totals.damages() == 0) {
    out << "no damage\n";
    return;
  }
  out << Count(totals.damages(), "damage", "damages");
  if (report.repaired()) out << ", " << totals.repaired() << " mended";
  if (totals.lost_bytes() != 0) out << "; " << HumanBytes(totals.lost_bytes()) << " are lost";
  out << "\n";
}

}  // namespace

std::optional<Failure> CheckStore(const Invocation& asked, const Surroundings& around,
                                  const wire::GatewayRef& gateway) {
  const bool collect = asked.command == Command::kGc;
  wire::Request request;
  wire::StoreCheckRequest* check = request.mutable_store_check();
  *check->mutable_gateway() = gateway;
  const WipeAtEnd wipe(*check->mutable_gateway()->mutable_token());
  check->set_collect(collect);
  check->set_workspace(asked.workspace);
  check->set_repair(asked.repair);
  check->set_skip_content(asked.quick);
  wire::StoreReport report;
  report.set_repaired(asked.repair);
  std::string error;
  {
    Progress progress(collect ? "collecting" : "checking", asked.verbose);
    auto client = BrokerClient::Connect(asked.socket);
    if (!client.value) return client.failure;
    for (auto pause = kFirstPause;; pause = std::min(2 * pause, kMostPause)) {
      const auto answer = client.value->Call(request, progress);
      if (!answer.value) return answer.failure;
      const wire::StoreCheckState& state = answer.value->store_check();
      for (const wire::StoreDamage& damage : state.damages()) *report.add_damages() = damage;
      *report.mutable_totals() = state.totals();
      check->set_run(state.run());
      check->set_damages_seen(static_cast<uint32_t>(report.damages_size()));
      error = state.error();
      if (state.finished()) break;
      progress.Update(state.phase(), state.done(), state.total());
      std::this_thread::sleep_for(pause);
    }
  }
  report.set_ended_early(error);
  if (asked.json) {
    around.out << ToJson(report) << "\n";
  } else {
    for (const wire::StoreDamage& damage : report.damages()) {
      Print(around.out, damage, asked.repair, around.colours);
    }
    if (error.empty()) Print(around.out, report, collect);
  }
  const char* what = collect ? "the collection" : "the check";
  if (!error.empty()) {
    return Failure{wire::FAILURE_KIND_INTERNAL,
                   asked.json ? "" : std::string(what) + " ended early: " + Printable(error), ""};
  }
  const uint64_t left = report.totals().damages() - report.totals().repaired();
  if (left == 0) return {};
  return Failure{wire::FAILURE_KIND_INTERNAL,
                 asked.json ? "" : Count(left, "damage is", "damages are") + " left",
                 asked.repair ? "" : "airctl fsck --repair mends what can be mended"};
}

}  // namespace airstore::airctl
