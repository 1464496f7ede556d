// SPDX-License-Identifier: Apache-2.0
#include "broker/metrics.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <vector>

#include "broker/metrics_families.h"
#include "broker/problems.h"

namespace airstore::broker {
namespace {

using Families = MetricsFamilies;
using Labels = MetricsFamilies::Labels;

// A workspace may have several sessions that are being recovered: no two series may have the same
// labels.
std::vector<SessionStatus> ByLabels(const std::vector<SessionStatus>& sessions) {
  std::map<std::tuple<std::string, std::string, std::string, bool>, SessionStatus> merged;
  for (const SessionStatus& one : sessions) {
    const auto [at, first] = merged.try_emplace(
        {one.workspace, one.gateway, one.principal, one.state == "recovering"}, one);
    if (first) continue;
    SessionStatus& sum = at->second;
    sum.dirty_bytes += one.dirty_bytes;
    sum.pending_mutations += one.pending_mutations;
    sum.oldest_dirty_ms = std::max(sum.oldest_dirty_ms, one.oldest_dirty_ms);
    sum.gateway_calls += one.gateway_calls;
    sum.fetched_bytes += one.fetched_bytes;
    sum.uploaded_bytes += one.uploaded_bytes;
    sum.journal_bytes += one.journal_bytes;
    sum.refused_changes += one.refused_changes;
  }
  std::vector<SessionStatus> out;
  for (auto& [labels, session] : merged) out.push_back(std::move(session));
  return out;
}

Labels With(Labels labels, const char* name, std::string value) {
  labels.push_back({name, std::move(value)});
  return labels;
}

void AddBroker(const BrokerStatus& status, const LogCounts& log, Families* out) {
  out->Gauge("airstore_build_info", "The version of airstored.", 1,
             {{"version", AIRSTORE_VERSION}});
  out->Gauge("airstore_uptime_seconds", "Since airstored was started.",
             static_cast<double>(status.uptime_ms) / 1000);
  out->Bytes("airstore_resident_memory_bytes", "Memory of airstored, shared tables included.",
             status.rss_bytes);
  out->Counter("airstore_wakeups_total", "Times that a frontend woke airstored.", status.wakeups);
  out->Counter("airstore_log_messages_total", "Lines that were logged.", log.warnings(),
               {{"level", "warning"}});
  out->Counter("airstore_log_messages_total", "", log.errors(), {{"level", "error"}});
  out->Bytes("airstore_spool_used_bytes", "Disk space that unsent changes take.",
             status.spool_bytes);
  out->Bytes("airstore_spool_limit_bytes", "Disk space that they may take.", status.spool_limit);
  out->Gauge("airstore_spool_full", "Whether writes wait for room.", status.spool_full ? 1 : 0);
  out->Gauge("airstore_lost_found_items", "Changes that gateways refused for good, and are kept.",
             static_cast<double>(status.lost_items));
  out->Bytes("airstore_lost_found_bytes", "Their size.", status.lost_bytes);
  out->Counter("airstore_clock_sets_total", "Times that the clock of this host was set.",
               status.clock_sets);
  out->Gauge("airstore_clock_last_jump_seconds", "By how much, the last time.",
             static_cast<double>(status.clock_jump_ms) / 1000);
  out->Counter("airstore_torn_journals_total",
               "Journals that ended in the middle of a record when airstored started.",
               status.torn_journals);
  std::map<Cause, std::map<std::string, int>> wrong;
  for (const Problem& problem : ProblemsOf(status)) wrong[problem.cause][problem.subject] = 1;
  for (const Cause cause : AllCauses()) {
    if (wrong[cause].empty()) wrong[cause][""] = 0;
    for (const auto& [subject, is] : wrong[cause]) {
      out->Gauge("airstore_problem", "1: status and doctor tell of it.", is,
                 {{"cause", CauseName(cause)}, {"subject", subject}});
    }
  }
}

void AddGateways(const BrokerStatus& status, Families* out) {
  std::set<std::string> seen;
  for (const SessionStatus& session : status.sessions) {
    if (!seen.insert(session.gateway).second) continue;
    const Labels labels = {{"gateway", session.gateway}};
    const bool up = session.gateway_error.empty() && session.state != "unreachable" &&
                    session.state != "connecting";
    out->Gauge("airstore_gateway_up", "Whether the gateway answers.", up ? 1 : 0, labels);
    out->Counter("airstore_gateway_unanswered_calls_total", "Calls without an answer in time.",
                 session.unanswered_calls, labels);
    out->Histogram("airstore_gateway_call_duration_seconds",
                   "Of answered calls. The sum is an estimate from the buckets.",
                   session.call_latencies, labels);
  }
}

void AddSession(const SessionStatus& session, Families* out) {
  const Labels labels = {{"workspace", session.workspace},
                         {"gateway", session.gateway},
                         {"principal", session.principal},
                         {"session", session.state == "recovering" ? "left" : "open"}};
  for (const char* state :
       {"connected", "connecting", "unreachable", "refused", "gone", "recovering"}) {
    out->Gauge("airstore_session_state", "1 for the state that the session is in.",
               session.state == state ? 1 : 0, With(labels, "state", state));
  }
  out->Gauge("airstore_write_lease", "Whether changes are acknowledged on this host.",
             session.write_lease ? 1 : 0, labels);
  out->Gauge("airstore_leased_directories",
             "Directories of the root in which changes are acknowledged on this host.",
             static_cast<double>(session.leased_directories.size()), labels);
  out->Bytes("airstore_unsent_bytes", "Content that is not at the gateway yet.",
             session.dirty_bytes, labels);
  out->Gauge("airstore_unsent_changes", "Changes that are not at the gateway yet.",
             static_cast<double>(session.pending_mutations), labels);
  out->Gauge("airstore_oldest_unsent_seconds", "Age of the oldest of them.",
             static_cast<double>(session.oldest_dirty_ms) / 1000, labels);
  out->Counter("airstore_refused_changes_total", "Changes that the gateway refused for good.",
               session.refused_changes, labels);
  out->Counter("airstore_gateway_calls_total", "Calls to the gateway.", session.gateway_calls,
               labels);
  out->Counter("airstore_gateway_received_bytes_total", "Content that came from the gateway.",
               session.fetched_bytes, labels);
  out->Counter("airstore_gateway_sent_bytes_total", "Content that went to the gateway.",
               session.uploaded_bytes, labels);
  out->Bytes("airstore_journal_bytes", "Disk space of the journal.", session.journal_bytes, labels);
  out->Gauge("airstore_cached_inodes", "Files and directories that are known.",
             static_cast<double>(session.cached_inodes), labels);
  out->Gauge("airstore_cached_names", "Names that are known.",
             static_cast<double>(session.cached_dentries), labels);
  out->Bytes("airstore_cached_memory_bytes", "Cached content in memory.", session.slab_bytes,
             labels);
  out->Bytes("airstore_cached_disk_bytes", "Cached content on disk.", session.content_file_bytes,
             labels);
}

struct LaneCounter {
  const char* counter;  // of the lane
  const char* metric;
  const char* help;
  const char* label = nullptr;
  const char* value = nullptr;
};

constexpr char kWhereHelp[] =
    "By what answered: the frontend (memory), a file, the broker, or "
    "the kernel by itself (passthrough).";
constexpr LaneCounter kLaneCounters[] = {
    {"requests", "airstore_requests_total", "Requests of the kernel, or of NFS clients."},
    {"lookup_hits", "airstore_lookups_total", kWhereHelp, "layer", "memory"},
    {"lookup_misses", "airstore_lookups_total", kWhereHelp, "layer", "broker"},
    {"getattr_hits", "airstore_getattrs_total", kWhereHelp, "layer", "memory"},
    {"getattr_misses", "airstore_getattrs_total", kWhereHelp, "layer", "broker"},
    {"readdir_hits", "airstore_readdirs_total", kWhereHelp, "layer", "memory"},
    {"readdir_misses", "airstore_readdirs_total", kWhereHelp, "layer", "broker"},
    {"open_local", "airstore_opens_total", kWhereHelp, "layer", "memory"},
    {"open_broker", "airstore_opens_total", kWhereHelp, "layer", "broker"},
    {"open_passthrough", "airstore_opens_total", kWhereHelp, "layer", "passthrough"},
    {"read_slab", "airstore_reads_total", kWhereHelp, "layer", "memory"},
    {"read_file", "airstore_reads_total", kWhereHelp, "layer", "file"},
    {"read_broker", "airstore_reads_total", kWhereHelp, "layer", "broker"},
    {"read_bytes", "airstore_read_bytes_total", "Bytes that frontends gave to programs."},
    {"writes", "airstore_writes_total", "Writes that went through frontends."},
    {"write_bytes", "airstore_written_bytes_total", "Bytes that went through frontends."},
    {"fsyncs", "airstore_fsyncs_total", "Calls of fsync."},
    {"broker_calls", "airstore_broker_calls_total", "Calls of frontends to airstored."},
    {"queue_full_waits", "airstore_queue_full_waits_total", "Waits for room in a queue."},
    {"write_stalls", "airstore_write_stalls_total", "Writes that waited for room in the spool."},
    {"interrupted", "airstore_interrupted_requests_total", "Requests that were interrupted."},
    {"repeated_requests", "airstore_repeated_requests_total",
     "Requests that were sent again after the death of a frontend."},
};

void AddMount(const MountStatus& mount, Families* out) {
  const Labels labels = {{"mountpoint", mount.mountpoint}, {"workspace", mount.workspace}};
  for (const char* state : {"starting", "ready", "recovering", "unmounting", "dead"}) {
    out->Gauge("airstore_mount_state", "1 for the state that the mount is in.",
               mount.state == state ? 1 : 0, With(labels, "state", state));
  }
  out->Counter("airstore_frontend_restarts_total",
               "Frontends that ended unexpectedly and were replaced.", mount.frontend_restarts,
               labels);
  out->Bytes("airstore_frontend_private_memory_bytes", "Memory of the mount's own frontend.",
             mount.frontend_rss_bytes, labels);
  for (const LaneCounter& from : kLaneCounters) {
    const auto found = mount.counters.find(from.counter);
    if (found == mount.counters.end()) continue;
    out->Counter(from.metric, from.help, found->second,
                 from.label == nullptr ? labels : With(labels, from.label, from.value));
  }
  for (const auto& [operation, counts] : mount.latencies) {
    out->Histogram("airstore_request_duration_seconds",
                   "Of requests in the frontend. The sum is an estimate from the buckets.", counts,
                   With(labels, "operation", operation));
  }
}

}  // namespace

std::string MetricsText(const BrokerStatus& status, const LogCounts& log) {
  Families out;
  AddBroker(status, log, &out);
  AddGateways(status, &out);
  for (const SessionStatus& session : ByLabels(status.sessions)) AddSession(session, &out);
  for (const MountStatus& mount : status.mounts) AddMount(mount, &out);
  return out.Text();
}

}  // namespace airstore::broker
