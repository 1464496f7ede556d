// SPDX-License-Identifier: Apache-2.0
#include "broker/control_convert.h"

#include <unistd.h>

#include "broker/names.h"
#include "broker/problems.h"
#include "broker/utf8_text.h"

namespace airstore::broker {
namespace {

namespace wire = control::v1;

// Both enums list the same kinds in the same order.
static_assert(static_cast<int>(FailureKind::kInternal) == wire::FAILURE_KIND_INTERNAL);
static_assert(static_cast<int>(FailureKind::kUsage) == wire::FAILURE_KIND_USAGE);
static_assert(static_cast<int>(FailureKind::kNotFound) == wire::FAILURE_KIND_NOT_FOUND);
static_assert(static_cast<int>(FailureKind::kBusy) == wire::FAILURE_KIND_BUSY);
static_assert(static_cast<int>(FailureKind::kPermission) == wire::FAILURE_KIND_PERMISSION);
static_assert(static_cast<int>(FailureKind::kUnreachable) == wire::FAILURE_KIND_UNREACHABLE);
static_assert(static_cast<int>(FailureKind::kHost) == wire::FAILURE_KIND_HOST);
static_assert(static_cast<int>(FailureKind::kDirty) == wire::FAILURE_KIND_DIRTY);
static_assert(static_cast<int>(FailureKind::kExists) == wire::FAILURE_KIND_EXISTS);
static_assert(static_cast<int>(FailureKind::kFuseUnavailable) ==
              wire::FAILURE_KIND_FUSE_UNAVAILABLE);
static_assert(static_cast<int>(FailureKind::kNfsUnavailable) == wire::FAILURE_KIND_NFS_UNAVAILABLE);
static_assert(static_cast<int>(FailureKind::kNoBackend) == wire::FAILURE_KIND_NO_BACKEND);
static_assert(static_cast<int>(FailureKind::kNfsFallbackFailed) ==
              wire::FAILURE_KIND_NFS_FALLBACK_FAILED);

void SetCounts(const LatencyCounts& from, wire::Latencies* to) {
  to->mutable_counts()->Add(from.begin(), from.end());
}

void SessionToWire(const SessionStatus& from, wire::SessionInfo* to) {
  to->set_workspace(from.workspace);
  to->set_workspace_id(from.workspace_id);
  to->set_gateway(from.gateway);
  to->set_principal(from.principal);
  to->set_state(from.state);
  to->set_protocol(from.protocol);
  if (from.access_log || from.access_sent != 0 || from.access_dropped != 0) {
    auto* log = to->mutable_access_log();
    log->set_sent(from.access_sent);
    log->set_dropped(from.access_dropped);
    log->set_waiting(from.access_waiting);
  }
  to->set_write_lease(from.write_lease);
  for (const std::string& path : from.leased_directories) to->add_leased_directories(AsUtf8(path));
  to->set_dirty_bytes(from.dirty_bytes);
  to->set_pending_mutations(from.pending_mutations);
  to->set_oldest_dirty_ms(from.oldest_dirty_ms);
  to->set_last_error(from.last_error);
  to->set_fetched_bytes(from.fetched_bytes);
  to->set_uploaded_bytes(from.uploaded_bytes);
  to->set_gateway_calls(from.gateway_calls);
  to->set_cached_inodes(from.cached_inodes);
  to->set_cached_dentries(from.cached_dentries);
  to->set_slab_bytes(from.slab_bytes);
  to->set_content_file_bytes(from.content_file_bytes);
  to->set_mounts(from.mounts);
  to->set_unanswered_calls(from.unanswered_calls);
  to->set_gateway_error(from.gateway_error);
  SetCounts(from.call_latencies, to->mutable_call_latencies());
  to->set_journal_bytes(from.journal_bytes);
  to->set_refused_changes(from.refused_changes);
}

}  // namespace

void MakeText(google::protobuf::Message* message) {
  using Field = google::protobuf::FieldDescriptor;
  const auto* reflection = message->GetReflection();
  std::vector<const Field*> fields;
  reflection->ListFields(*message, &fields);
  for (const Field* field : fields) {
    if (field->is_map()) continue;  // names of ours
    const int count = field->is_repeated() ? reflection->FieldSize(*message, field) : 1;
    for (int i = 0; i < count; ++i) {
      if (field->cpp_type() == Field::CPPTYPE_MESSAGE) {
        MakeText(field->is_repeated() ? reflection->MutableRepeatedMessage(message, field, i)
                                      : reflection->MutableMessage(message, field));
      } else if (field->type() == Field::TYPE_STRING) {
        std::string held;
        const std::string& text =
            field->is_repeated() ? reflection->GetRepeatedStringReference(*message, field, i, &held)
                                 : reflection->GetStringReference(*message, field, &held);
        if (IsUtf8(text)) continue;
        std::string clean = AsUtf8(text);
        if (field->is_repeated()) {
          reflection->SetRepeatedString(message, field, i, std::move(clean));
        } else {
          reflection->SetString(message, field, std::move(clean));
        }
      }
    }
  }
}

// Those that may be long are lists, and the only ones of their messages.
std::vector<wire::Response> InParts(wire::Response whole) {
  constexpr size_t kPartBytes = 1u << 20;
  std::vector<wire::Response> parts;
  google::protobuf::Message* list = nullptr;
  if (whole.has_dirty()) list = whole.mutable_dirty();
  if (whole.has_lost()) list = whole.mutable_lost();
  if (whole.has_workspaces()) list = whole.mutable_workspaces();
  if (whole.has_tokens()) list = whole.mutable_tokens();
  if (whole.has_access_events()) list = whole.mutable_access_events();
  if (list == nullptr || whole.ByteSizeLong() <= kPartBytes) {
    parts.push_back(std::move(whole));
    return parts;
  }
  const auto* reflection = whole.GetReflection();
  const auto* what =
      reflection->GetOneofFieldDescriptor(whole, whole.GetDescriptor()->FindOneofByName("what"));
  const auto* items = list->GetDescriptor()->field(0);
  const int count = list->GetReflection()->FieldSize(*list, items);
  size_t bytes = kPartBytes;
  google::protobuf::Message* part = nullptr;
  for (int i = 0; i < count; ++i) {
    const auto& item = list->GetReflection()->GetRepeatedMessage(*list, items, i);
    if (bytes >= kPartBytes) {
      parts.emplace_back().set_more(true);
      part = reflection->MutableMessage(&parts.back(), what);
      bytes = 0;
    }
    bytes += item.ByteSizeLong();
    list->GetReflection()->AddMessage(part, items)->CopyFrom(item);
  }
  parts.back().set_more(false);
  return parts;
}

MountSpec FromWire(const wire::MountRequest& from) {
  MountSpec spec;
  spec.gateway = from.gateway().address();
  spec.token = from.gateway().token();
  spec.workspace = from.workspace();
  spec.mountpoint = from.mountpoint();
  if (from.has_uid()) spec.uid = from.uid();
  if (from.has_gid()) spec.gid = from.gid();
  spec.relatime = from.atime() == wire::ATIME_RELATIME;
  if (from.squash() == wire::SQUASH_ROOT) spec.squash = SquashWho::kRoot;
  if (from.squash() == wire::SQUASH_ALL) spec.squash = SquashWho::kAll;
  if (from.has_anonymous_uid()) spec.anonymous_uid = from.anonymous_uid();
  if (from.has_anonymous_gid()) spec.anonymous_gid = from.anonymous_gid();
  spec.read_only = from.read_only();
  spec.passthrough = from.passthrough() != wire::PASSTHROUGH_OFF;
  spec.fsync_local = from.fsync() == wire::FSYNC_LOCAL;
  spec.backend = "auto";
  if (from.backend() == wire::BACKEND_FUSE) spec.backend = "fuse";
  if (from.backend() == wire::BACKEND_NFS) spec.backend = "nfs";
  spec.serve_only = from.serve_only();
  spec.nfs_auth_none = from.nfs_auth_none();
  spec.verbose = from.verbose();
  spec.virtual_nodes = from.virtual_nodes();
  spec.compression = from.compression();
  if (from.has_access_session()) spec.access_session = from.access_session();
  if (from.has_access_log()) spec.access_log = from.access_log();
  return spec;
}

void ToWire(const Failure& from, wire::Failure* to) {
  to->set_kind(static_cast<wire::FailureKind>(from.kind));
  to->set_message(from.message);
  to->set_advice(from.advice);
}

void ToWire(const MountStatus& from, wire::MountInfo* to) {
  to->set_mountpoint(from.mountpoint);
  to->set_workspace(from.workspace);
  to->set_gateway(from.gateway);
  to->set_backend(from.backend);
  to->set_read_only(from.read_only);
  to->set_passthrough(from.passthrough);
  to->set_atime(from.relatime ? "relatime" : "noatime");
  if (from.squash == SquashWho::kRoot) to->set_squash("root");
  if (from.squash == SquashWho::kAll) to->set_squash("all");
  to->set_fsync(from.fsync_local ? "local" : "gateway");
  to->set_frontend_pid(from.frontend_pid);
  to->set_owner_uid(from.owner_uid);
  to->set_state(from.state);
  to->set_frontend_rss_bytes(from.frontend_rss_bytes);
  to->set_ready_us(from.ready_us);
  to->set_frontend_restarts(from.frontend_restarts);
  to->set_problem(from.problem);
  to->set_frontend_up_ms(from.frontend_up_ms);
  to->set_last_end(from.last_end);
  for (const auto& [name, counts] : from.latencies) {
    SetCounts(counts, &(*to->mutable_latencies())[name]);
  }
  if (from.nfs_port != 0) {
    wire::NfsInfo* nfs = to->mutable_nfs();
    nfs->set_host(from.nfs_host);
    nfs->set_port(from.nfs_port);
    nfs->set_path(from.nfs_path);
    nfs->set_mount_command(from.nfs_command);
  }
  to->set_dirty_bytes(from.dirty_bytes);
  to->mutable_counters()->insert(from.counters.begin(), from.counters.end());
  to->mutable_latency_p50_ns()->insert(from.latency_p50_ns.begin(), from.latency_p50_ns.end());
  to->mutable_latency_p99_ns()->insert(from.latency_p99_ns.begin(), from.latency_p99_ns.end());
}

void ToWire(const BrokerStatus& from, wire::StatusResponse* to) {
  wire::BrokerInfo* broker = to->mutable_broker();
  broker->set_pid(static_cast<uint32_t>(getpid()));
  broker->set_version(AIRSTORE_VERSION);
  broker->set_uptime_ms(from.uptime_ms);
  broker->set_rss_bytes(from.rss_bytes);
  broker->set_wakeups(from.wakeups);
  broker->set_state_dir(from.state_dir);
  broker->set_passthrough(from.passthrough);
  broker->set_spool_bytes(from.spool_bytes);
  broker->set_spool_limit(from.spool_limit);
  broker->set_spool_full(from.spool_full);
  broker->set_lost_items(from.lost_items);
  broker->set_lost_bytes(from.lost_bytes);
  broker->set_clock_sets(from.clock_sets);
  broker->set_clock_jump_ms(from.clock_jump_ms);
  broker->set_torn_journals(from.torn_journals);
  broker->set_metrics(from.metrics);
  for (const Problem& problem : ProblemsOf(from)) {
    wire::Problem* told = to->add_problems();
    told->set_cause(CauseName(problem.cause));
    told->set_subject(problem.subject);
    told->set_says(problem.says);
    told->set_mend(problem.mend);
  }
  for (const SessionStatus& session : from.sessions) SessionToWire(session, to->add_sessions());
  for (const MountStatus& mount : from.mounts) ToWire(mount, to->add_mounts());
}

void ToWire(const WorkspaceEntry& from, wire::WorkspaceEntry* to) {
  to->set_id(from.id);
  to->set_name(from.name);
  to->set_created_ns(from.created_ns);
  to->set_used_bytes(from.used_bytes);
  to->set_inodes(from.inodes);
  to->set_quota_bytes(from.quota_bytes);
  to->set_quota_inodes(from.quota_inodes);
}

void ToWire(const DirtyFile& from, wire::DirtyFile* to) {
  to->set_workspace(from.workspace);
  to->set_path(AsUtf8(from.path));
  to->set_inode(from.inode);
  to->set_bytes(from.bytes);
  to->set_age_ms(from.age_ms);
  to->set_last_error(from.error);
  to->set_earlier(from.earlier);
}

void ToWire(const LostFile& from, wire::LostItem* to) {
  to->set_id(from.id);
  to->set_workspace(from.workspace);
  to->set_path(AsUtf8(from.path));
  to->set_what(from.what);
  to->set_inode(from.inode);
  to->set_bytes(from.bytes);
  to->set_error(from.error);
  to->set_time_ns(from.time_ns);
  to->set_content(from.content);
  to->set_location(from.location);
}

void ToWire(const TokenEntry& from, wire::TokenEntry* to) {
  to->set_id(from.id);
  to->set_workspace(from.workspace);
  to->set_principal(from.principal);
  to->set_read_only(from.read_only);
  to->set_created_ns(from.created_ns);
  to->set_revoked_ns(from.revoked_ns);
}

void ToWire(const AccessEntry& from, wire::AccessEvent* to) {
  to->set_ts_ms(from.ts_ms);
  to->set_path(AsUtf8(from.path));
  to->set_session(from.session);
  to->set_mount(from.mount);
  to->set_origin(from.origin);
  to->set_cache_source(from.cache_source);
  to->set_offset(from.offset);
  to->set_requested_bytes(from.requested_bytes);
  to->set_read_bytes(from.read_bytes);
  to->set_latency_ms(from.latency_ms);
  to->set_outcome(from.outcome);
  to->set_error(from.error);
  to->set_source_uri(from.source_uri);
  to->set_fetch_ms(from.fetch_ms);
}

void ToWire(const Evicted& from, wire::EvictResponse* to) {
  to->set_files(from.files);
  to->set_bytes(from.bytes);
  to->set_kept_files(from.kept_files);
  to->set_kept_bytes(from.kept_bytes);
}

void ToWire(const GatewayReport& from, wire::GatewayState* to) {
  to->set_version(AsUtf8(from.version));
  to->set_metadata(AsUtf8(from.metadata));
  to->set_blocks(AsUtf8(from.blocks));
  to->set_shared(from.shared);
  to->set_weakness(AsUtf8(from.weakness));
  to->set_sessions(from.sessions);
  to->set_read_us(from.read_us);
}

void ToWire(const StoreCheckState& from, wire::StoreCheckState* to) {
  to->set_run(from.run);
  to->set_finished(from.finished);
  to->set_error(from.error);
  to->set_phase(from.phase);
  to->set_done(from.done);
  to->set_total(from.total);
  for (const StoreDamage& damage : from.damages) {
    wire::StoreDamage* out = to->add_damages();
    out->set_kind(damage.kind);
    out->set_workspace(damage.workspace);
    out->set_inode(damage.inode);
    // Text, for people: a name may be any bytes.
    out->set_path(IsUtf8(damage.path) ? damage.path : "inode " + std::to_string(damage.inode));
    out->set_block(damage.block);
    out->set_offset(damage.offset);
    out->set_lost_bytes(damage.lost_bytes);
    out->set_what(damage.what);
    out->set_remedy(damage.remedy);
    out->set_repaired(damage.repaired);
  }
  wire::StoreTotals& totals = *to->mutable_totals();
  totals.set_workspaces(from.workspaces);
  totals.set_inodes(from.inodes);
  totals.set_blocks(from.blocks);
  totals.set_content_bytes(from.content_bytes);
  totals.set_damages(from.all_damages);
  totals.set_repaired(from.all_repaired);
  totals.set_lost_bytes(from.lost_bytes);
  totals.set_removed_blocks(from.removed_blocks);
  totals.set_removed_bytes(from.removed_bytes);
}

}  // namespace airstore::broker
