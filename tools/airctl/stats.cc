// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/stats.h"

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "tools/airctl/format.h"
#include "tools/airctl/table.h"

namespace airstore::airctl {
namespace {

namespace wire = control::v1;
using Counts = std::vector<uint64_t>;

uint64_t Since(uint64_t now, uint64_t before) { return now >= before ? now - before : now; }

Counts Since(const wire::Latencies& now, const wire::Latencies& before) {
  Counts out(now.counts().begin(), now.counts().end());
  const int size = before.counts_size();
  for (int b = 0; b < size; ++b) {
    if (static_cast<size_t>(b) >= out.size() || out[static_cast<size_t>(b)] < before.counts(b)) {
      return Counts(now.counts().begin(), now.counts().end());
    }
    out[static_cast<size_t>(b)] -= before.counts(b);
  }
  return out;
}

// The end of the bucket that it is in.
uint64_t Quantile(const Counts& counts, uint64_t total, uint64_t percent) {
  uint64_t seen = 0;
  for (size_t b = 0; b < counts.size() && total != 0; ++b) {
    seen += counts[b];
    if (seen * 100 >= total * percent) return 2ull << b;
  }
  return 0;
}

void Summarise(const Counts& counts, wire::OperationStats* to) {
  uint64_t total = 0;
  for (const uint64_t count : counts) total += count;
  to->set_count(total);
  to->set_p50_ns(Quantile(counts, total, 50));
  to->set_p99_ns(Quantile(counts, total, 99));
}

class Counters {
 public:
  Counters(const wire::MountInfo& now, const wire::MountInfo& before)
      : now_(now), before_(before) {}
  uint64_t operator[](const char* name) const { return Since(Of(now_, name), Of(before_, name)); }

 private:
  static uint64_t Of(const wire::MountInfo& mount, const char* name) {
    const auto found = mount.counters().find(name);
    return found == mount.counters().end() ? 0 : found->second;
  }

  const wire::MountInfo& now_;
  const wire::MountInfo& before_;
};

const wire::SessionInfo* SessionOf(const wire::StatusResponse& status,
                                   const wire::MountInfo& mount) {
  for (const wire::SessionInfo& session : status.sessions()) {
    if (session.workspace() == mount.workspace() && session.gateway() == mount.gateway() &&
        session.state() != "recovering") {
      return &session;
    }
  }
  return nullptr;
}

void AddMount(const wire::MountInfo& now, const wire::MountInfo& before, wire::MountStats* to) {
  to->set_mountpoint(now.mountpoint());
  to->set_workspace(now.workspace());
  to->set_state(now.state());
  const Counters count(now, before);
  to->set_requests(count["requests"]);
  wire::LayerStats* names = to->mutable_names();
  names->set_memory(count["lookup_hits"] + count["getattr_hits"] + count["readdir_hits"]);
  names->set_broker(count["lookup_misses"] + count["getattr_misses"] + count["readdir_misses"]);
  to->mutable_opens()->set_passthrough(count["open_passthrough"]);
  to->mutable_opens()->set_memory(count["open_local"]);
  to->mutable_opens()->set_broker(count["open_broker"]);
  to->mutable_reads()->set_memory(count["read_slab"]);
  to->mutable_reads()->set_file(count["read_file"]);
  to->mutable_reads()->set_broker(count["read_broker"]);
  to->set_read_bytes(count["read_bytes"]);
  to->set_written_bytes(count["write_bytes"]);
  to->set_frontend_restarts(Since(now.frontend_restarts(), before.frontend_restarts()));
  Counts all;
  for (const auto& [name, latencies] : now.latencies()) {
    const auto earlier = before.latencies().find(name);
    const Counts counts =
        Since(latencies, earlier == before.latencies().end() ? wire::Latencies() : earlier->second);
    all.resize(std::max(all.size(), counts.size()));
    for (size_t b = 0; b < counts.size(); ++b) all[b] += counts[b];
    Summarise(counts, &(*to->mutable_operations())[name]);
  }
  Summarise(all, to->mutable_all());
}

void AddSession(const wire::SessionInfo& now, const wire::SessionInfo& before,
                wire::SessionStats* to) {
  to->set_workspace(now.workspace());
  to->set_gateway(now.gateway());
  to->set_state(now.state());
  to->set_unsent_bytes(now.dirty_bytes());
  to->set_unsent_changes(now.pending_mutations());
  to->set_oldest_unsent_ms(now.oldest_dirty_ms());
  to->set_received_bytes(Since(now.fetched_bytes(), before.fetched_bytes()));
  to->set_sent_bytes(Since(now.uploaded_bytes(), before.uploaded_bytes()));
  to->set_gateway_calls(Since(now.gateway_calls(), before.gateway_calls()));
  to->set_unanswered_calls(Since(now.unanswered_calls(), before.unanswered_calls()));
  Summarise(Since(now.call_latencies(), before.call_latencies()), to->mutable_answered_calls());
}

std::string Percent(const wire::LayerStats& layers) {
  const int percent = HitPercent(layers);
  return percent < 0 ? "-" : std::to_string(percent) + "%";
}

// Counts become rates where there is an interval.
class Rates {
 public:
  explicit Rates(uint64_t interval_ms) : ms_(interval_ms) {}
  std::string Number(uint64_t count) const {
    return std::to_string(ms_ == 0 ? count : count * 1000 / ms_);
  }
  std::string Bytes(uint64_t bytes) const {
    return HumanBytes(ms_ == 0 ? bytes : bytes * 1000 / ms_);
  }
  std::string Title(const char* name) const { return std::string(name) + (ms_ == 0 ? ">" : "/S>"); }

 private:
  const uint64_t ms_;
};

}  // namespace

int HitPercent(const wire::LayerStats& layers) {
  const uint64_t hits = layers.passthrough() + layers.memory() + layers.file();
  const uint64_t all = hits + layers.broker();
  return all == 0 ? -1 : static_cast<int>(hits * 100 / all);
}

wire::StatsReport MakeReport(const wire::StatusResponse& now, const wire::StatusResponse* before,
                             uint64_t interval_ms) {
  wire::StatsReport report;
  report.set_interval_ms(before == nullptr ? 0 : interval_ms);
  const wire::StatusResponse nothing;
  const wire::StatusResponse& then = before == nullptr ? nothing : *before;
  for (const wire::MountInfo& mount : now.mounts()) {
    wire::MountInfo earlier;
    for (const wire::MountInfo& other : then.mounts()) {
      if (other.mountpoint() == mount.mountpoint()) earlier = other;
    }
    wire::MountStats* to = report.add_mounts();
    AddMount(mount, earlier, to);
    if (const wire::SessionInfo* session = SessionOf(now, mount)) {
      to->set_unsent_bytes(session->dirty_bytes());
      to->set_oldest_unsent_ms(session->oldest_dirty_ms());
    }
  }
  for (const wire::SessionInfo& session : now.sessions()) {
    wire::SessionInfo earlier;
    for (const wire::SessionInfo& other : then.sessions()) {
      const bool same = other.workspace() == session.workspace() &&
                        other.gateway() == session.gateway() &&
                        other.principal() == session.principal() &&
                        (other.state() == "recovering") == (session.state() == "recovering");
      if (same) earlier = other;
    }
    AddSession(session, earlier, report.add_sessions());
  }
  return report;
}

void PrintReport(std::ostream& out, const wire::StatsReport& report, bool colours) {
  const Rates rate(report.interval_ms());
  Table mounts({"MOUNT POINT", rate.Title("REQUESTS"), "P50>", "P99>", "NAMES HIT>", "READS HIT>",
                rate.Title("READ"), rate.Title("WRITTEN"), "UNSENT>", "OLDEST>"});
  for (const wire::MountStats& mount : report.mounts()) {
    mounts.Add({mount.mountpoint(), rate.Number(mount.requests()),
                mount.all().count() == 0 ? "-" : HumanLatency(mount.all().p50_ns()),
                mount.all().count() == 0 ? "-" : HumanLatency(mount.all().p99_ns()),
                Percent(mount.names()), Percent(mount.reads()), rate.Bytes(mount.read_bytes()),
                rate.Bytes(mount.written_bytes()), HumanBytes(mount.unsent_bytes()),
                mount.oldest_unsent_ms() == 0 ? "-" : HumanDuration(mount.oldest_unsent_ms())});
  }
  if (report.mounts().empty()) {
    out << "no mounts\n";
  } else {
    mounts.Print(out, colours);
  }
  if (report.sessions().empty()) return;
  out << "\n";
  Table sessions({"WORKSPACE", "GATEWAY", "STATE", rate.Title("CALLS"), "P50>", "P99>",
                  "UNANSWERED>", rate.Title("RECEIVED"), rate.Title("SENT"), "UNSENT>",
                  "CHANGES>"});
  for (const wire::SessionStats& session : report.sessions()) {
    const wire::OperationStats& calls = session.answered_calls();
    sessions.Add({session.workspace(), session.gateway(), session.state(),
                  rate.Number(session.gateway_calls()),
                  calls.count() == 0 ? "-" : HumanLatency(calls.p50_ns()),
                  calls.count() == 0 ? "-" : HumanLatency(calls.p99_ns()),
                  std::to_string(session.unanswered_calls()), rate.Bytes(session.received_bytes()),
                  rate.Bytes(session.sent_bytes()), HumanBytes(session.unsent_bytes()),
                  std::to_string(session.unsent_changes())});
  }
  sessions.Print(out, colours);
}

}  // namespace airstore::airctl
