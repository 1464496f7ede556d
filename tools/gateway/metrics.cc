// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/metrics.h"

#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <fstream>
#include <map>
#include <thread>

#include "broker/metrics_families.h"
#include "broker/metrics_server.h"
#include "tools/gateway/call.h"

namespace airstore::gateway {
namespace {

using Families = broker::MetricsFamilies;
using Labels = Families::Labels;

constexpr std::array<const char*, CallMeter::kCodes> kCodeNames = {
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};

uint64_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  uint64_t all = 0, resident = 0;
  statm >> all >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

void AddProcess(const MetricsParts& parts, Families* out) {
  out->Gauge("airstore_gateway_build_info", "The version of airstore-gateway.", 1,
             {{"version", AIRSTORE_VERSION}});
  out->Gauge("airstore_gateway_uptime_seconds", "Since airstore-gateway was started.",
             std::chrono::duration<double>(SteadyNow() - parts.started).count());
  out->Bytes("airstore_gateway_resident_memory_bytes", "Memory of airstore-gateway.",
             ResidentBytes());
  out->Counter("airstore_gateway_log_messages_total", "Lines that were logged.",
               parts.log->warnings(), {{"level", "warning"}});
  out->Counter("airstore_gateway_log_messages_total", "", parts.log->errors(),
               {{"level", "error"}});
}

void AddCalls(const CallMeter& calls, Families* out) {
  for (const auto& [method, counts] : calls.Read()) {
    const Labels labels = {{"method", method}};
    for (size_t code = 0; code < CallMeter::kCodes; ++code) {
      if (counts.ended[code] == 0 && code != 0) continue;
      out->Counter("airstore_gateway_requests_total", "Calls that have ended.", counts.ended[code],
                   {{"method", method}, {"code", kCodeNames[code]}});
    }
    out->Gauge("airstore_gateway_requests_running", "Calls and streams that have not ended.",
               static_cast<double>(counts.running), labels);
    if (counts.latencies.empty()) continue;
    out->Histogram("airstore_gateway_request_duration_seconds",
                   "Of calls, not of streams. The sum is an estimate from the buckets.",
                   counts.latencies, labels);
  }
}

void AddTokens(FailedTokens& failed, Families* out) {
  const FailedTokens::Counts counts = failed.counts();
  out->Counter("airstore_gateway_failed_tokens_total", "Calls with a token that is not ours.",
               counts.failed);
  out->Counter("airstore_gateway_turned_away_calls_total",
               "Calls that were refused unseen, because too many such tokens came from there.",
               counts.turned_away);
}

void AddBlocks(Blocks& blocks, Families* out) {
  const Blocks::Counters& counts = blocks.counters();
  const auto add = [&](const char* operation, const std::atomic<uint64_t>& count,
                       const std::atomic<uint64_t>& bytes) {
    out->Counter("airstore_gateway_blocks_total", "Blocks that were stored and read.", count,
                 {{"operation", operation}});
    out->Counter("airstore_gateway_block_bytes_total", "Their bytes.", bytes,
                 {{"operation", operation}});
  };
  add("store", counts.stored, counts.stored_bytes);
  add("read", counts.read, counts.read_bytes);
  add("read_cached", counts.cached, counts.cached_bytes);
  out->Counter("airstore_gateway_blocks_deleted_total", "Blocks that were deleted.",
               counts.deleted);
  out->Counter("airstore_gateway_block_errors_total",
               "Blocks that could not be stored, read or deleted, or are damaged.",
               counts.failures);
  out->Bytes("airstore_gateway_block_cache_bytes", "Memory of cached blocks.",
             blocks.cached_bytes());
}

Result<void> AddWorkspaces(Gateway& gateway, Families* out) {
  auto reader = gateway.store().Read();
  if (!reader) return reader.error();
  const std::vector<Workspace> workspaces = (*reader)->ListWorkspaces();
  std::map<WorkspaceKey, uint64_t> leases, sessions;
  for (const LeaseRecord& lease : (*reader)->ListLeases(std::nullopt)) ++leases[lease.workspace];
  AIRSTORE_TRY((*reader)->status());
  for (const SessionRecord& session : gateway.sessions().LiveSessions()) {
    ++sessions[session.workspace];
  }
  for (const Workspace& workspace : workspaces) {
    const auto locks = gateway.locks().Count(workspace.key);
    if (!locks) return locks.error();
    const Labels labels = {{"workspace", workspace.name}};
    out->Bytes("airstore_gateway_used_bytes", "Content of the workspace.", workspace.used_bytes,
               labels);
    out->Gauge("airstore_gateway_used_inodes", "Its files and directories.",
               static_cast<double>(workspace.inodes), labels);
    out->Bytes("airstore_gateway_quota_bytes", "How much that may be; 0: any.",
               workspace.quota_bytes, labels);
    out->Gauge("airstore_gateway_quota_inodes", "How many that may be; 0: any.",
               static_cast<double>(workspace.quota_inodes), labels);
    out->Gauge("airstore_gateway_sessions",
               "Hosts and users that work in it, as this gateway knows.",
               static_cast<double>(sessions[workspace.key]), labels);
    out->Gauge("airstore_gateway_leases", "Write leases that are held.",
               static_cast<double>(leases[workspace.key]), labels);
    out->Gauge("airstore_gateway_locks", "Locks that are held across hosts.",
               static_cast<double>(*locks), labels);
  }
  return {};
}

void AddStore(Gateway& gateway, Families* out) {
  out->Counter("airstore_gateway_store_errors_total", "Calls that failed because the store did.",
               StoreErrors());
  const auto added = AddWorkspaces(gateway, out);
  out->Gauge("airstore_gateway_store_up", "Whether the metadata can be read.", added ? 1 : 0);
  const Capacity capacity = gateway.capacity();
  out->Bytes("airstore_gateway_free_bytes", "Room for blocks; an object store does not say.",
             capacity.free_bytes);
  out->Bytes("airstore_gateway_total_bytes", "With what is used.", capacity.total_bytes);
}

}  // namespace

std::string MetricsText(const MetricsParts& parts) {
  Families out;
  AddProcess(parts, &out);
  AddCalls(parts.calls, &out);
  AddTokens(parts.gateway.auth().failed(), &out);
  AddBlocks(parts.gateway.blocks(), &out);
  AddStore(parts.gateway, &out);
  return out.Text();
}

struct GatewayMetrics::State {
  explicit State(MetricsParts of) : parts(std::move(of)) {}

  const MetricsParts parts;
  boost::asio::io_context loop{1};
  std::unique_ptr<broker::MetricsServer> server;
  std::thread thread;
};

GatewayMetrics::GatewayMetrics(std::unique_ptr<State> state) : state_(std::move(state)) {}

Result<std::unique_ptr<GatewayMetrics>> GatewayMetrics::Serve(MetricsParts parts,
                                                              const std::string& address) {
  const auto parsed = broker::ParseMetricsAddress(address);
  if (!parsed) return parsed.error();
  auto state = std::make_unique<State>(std::move(parts));
  auto server = broker::MetricsServer::Listen(state->loop.get_executor(), *parsed,
                                              [of = &state->parts] { return MetricsText(*of); });
  if (!server) return server.error();
  state->server = std::move(*server);
  state->thread = std::thread([loop = &state->loop] { loop->run(); });
  return std::unique_ptr<GatewayMetrics>(new GatewayMetrics(std::move(state)));
}

GatewayMetrics::~GatewayMetrics() {
  state_->loop.stop();
  state_->thread.join();
}

const std::string& GatewayMetrics::address() const { return state_->server->address(); }

}  // namespace airstore::gateway
