// SPDX-License-Identifier: Apache-2.0
#include "broker/problems.h"

#include <algorithm>
#include <cstdio>
#include <set>

#include "broker/shell_word.h"

namespace airstore::broker {
namespace {

// For so long something that is over is told of.
constexpr uint64_t kToldMs = 10 * 60'000;
constexpr uint64_t kFrontendToldMs = 60'000;

constexpr const char* kNames[] = {
    "gateway_unreachable", "gateway_certificate", "gateway_token", "workspace_gone",  "spool_full",
    "frontend_failing",    "journal_torn",        "clock_set",     "changes_refused",
};
constexpr size_t kCauses = sizeof kNames / sizeof kNames[0];
static_assert(static_cast<size_t>(Cause::kChangesRefused) + 1 == kCauses);

bool IsAboutCertificates(std::string error) {
  std::transform(error.begin(), error.end(), error.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const char* word : {"handshake", "certificate", "ssl", "peer name"}) {
    if (error.find(word) != std::string::npos) return true;
  }
  return false;
}

// Each gateway once, whatever the number of its sessions.
void AddGateways(const BrokerStatus& status, std::vector<Problem>* out) {
  std::set<std::string> told;
  for (const SessionStatus& session : status.sessions) {
    const bool away = session.state == "unreachable" || !session.gateway_error.empty();
    if (!away || !told.insert(session.gateway).second) continue;
    const std::string why = session.gateway_error.empty() ? "" : ": " + session.gateway_error;
    if (IsAboutCertificates(session.gateway_error)) {
      out->push_back({Cause::kGatewayCertificate, session.gateway,
                      "no encrypted connection with the gateway can be made" + why,
                      "correct the gateway's certificate, or gateway_ca_file and "
                      "gateway_cert_file in airstored.toml; then: systemctl reload airstored"});
    } else {
      out->push_back({Cause::kGatewayUnreachable, session.gateway,
                      "the gateway does not answer" + why,
                      "on the gateway's host: systemctl restart airstore-gateway; between the "
                      "hosts: check the network; changes are kept meanwhile: airctl dirty"});
    }
  }
}

void AddSessions(const BrokerStatus& status, std::vector<Problem>* out) {
  for (const SessionStatus& session : status.sessions) {
    if (session.state == "refused") {
      out->push_back({Cause::kGatewayToken, session.workspace,
                      "the gateway does not take the token any more",
                      "airctl mount at the same place, with a valid token: airctl token create " +
                          session.workspace});
    }
    if (session.state == "gone") {
      out->push_back({Cause::kWorkspaceGone, session.workspace,
                      "the gateway has no such workspace any more",
                      "airctl unmount its mounts; what was not sent: airctl recover"});
    }
  }
}

void AddMounts(const BrokerStatus& status, std::vector<Problem>* out) {
  for (const MountStatus& mount : status.mounts) {
    const bool broken = mount.state == "dead" || mount.state == "recovering";
    const bool lately = mount.frontend_restarts != 0 && mount.frontend_up_ms < kFrontendToldMs;
    if (!broken && !lately) continue;
    std::string says = broken && !mount.problem.empty()
                           ? mount.problem
                           : "its frontend ended unexpectedly: " + mount.last_end;
    if (mount.frontend_restarts != 0) {
      says += "; replaced " + std::to_string(mount.frontend_restarts) +
              (mount.frontend_restarts == 1 ? " time" : " times");
    }
    out->push_back(
        {Cause::kFrontendFailing, mount.mountpoint, std::move(says),
         mount.state == "dead"
             ? "airctl unmount --force " + ShellWord(mount.mountpoint) + ", then mount it again"
             : "journalctl -u airstored; coredumpctl info "
               "airstore-fuse"});
  }
}

}  // namespace

const char* CauseName(Cause cause) { return kNames[static_cast<size_t>(cause)]; }

std::vector<Cause> AllCauses() {
  std::vector<Cause> all;
  for (size_t i = 0; i < kCauses; ++i) all.push_back(static_cast<Cause>(i));
  return all;
}

std::vector<Problem> ProblemsOf(const BrokerStatus& status) {
  std::vector<Problem> out;
  AddGateways(status, &out);
  AddSessions(status, &out);
  if (status.spool_full) {
    out.push_back({Cause::kSpoolFull, "",
                   "the spool is full, writes wait and then fail: " +
                       std::to_string(status.spool_bytes >> 20) + " of " +
                       std::to_string(status.spool_limit >> 20) + " MiB",
                   "bring the gateway back, make room on the disk of " + status.state_dir +
                       ", or raise spool_limit in airstored.toml: systemctl reload airstored"});
  }
  AddMounts(status, &out);
  if (status.torn_journals != 0 && status.uptime_ms < kToldMs) {
    out.push_back({Cause::kJournalTorn, "",
                   "a journal ended in the middle of a record when airstored started; what came "
                   "before it counts",
                   "journalctl -u airstored says which; look after its disk: dmesg, smartctl -H"});
  }
  if (status.clock_sets != 0 && status.clock_set_ago_ms < kToldMs) {
    char seconds[32];
    snprintf(seconds, sizeof seconds, "%+.1f s", static_cast<double>(status.clock_jump_ms) / 1000);
    out.push_back({Cause::kClockSet, "",
                   "the clock of this host was set, by " + std::string(seconds) +
                       ": times of files may be out of order",
                   "timedatectl set-ntp true"});
  }
  if (status.lost_items != 0) {
    out.push_back({Cause::kChangesRefused, "",
                   "gateways refused " + std::to_string(status.lost_items) +
                       " changes for good; they are kept",
                   "airctl recover"});
  }
  return out;
}

}  // namespace airstore::broker
