// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/status_text.h"

#include <cstring>
#include <map>

#include "tools/airctl/format.h"
#include "tools/airctl/table.h"

namespace airstore::airctl {
namespace {

namespace wire = control::v1;

Cell State(const std::string& state) {
  if (state == "ready" || state == "connected") return {state, Colour::kGood};
  if (state == "dead" || state == "refused" || state == "gone" || state == "unreachable") {
    return {state, Colour::kBad};
  }
  return {state, Colour::kWarn};
}

Cell Dirty(uint64_t bytes) {
  return {HumanBytes(bytes), bytes == 0 ? Colour::kNone : Colour::kWarn};
}

std::string Flags(const wire::MountInfo& mount) {
  std::string text = mount.backend();
  if (mount.passthrough()) text += ", passthrough";
  if (mount.atime() == "relatime") text += ", relatime";
  if (!mount.squash().empty()) text += ", " + Printable(mount.squash()) + " squashed";
  if (mount.fsync() == "local") text += ", fsync local";
  if (mount.read_only()) text += ", read-only";
  return text;
}

void PrintBroker(std::ostream& out, const wire::BrokerInfo& broker, bool colours) {
  out << Painted("airstored " + Printable(broker.version()), Colour::kBold, colours) << "  pid "
      << broker.pid() << ", up " << HumanDuration(broker.uptime_ms()) << ", memory "
      << HumanBytes(broker.rss_bytes()) << ", passthrough "
      << (broker.passthrough() ? "possible" : "not possible") << ", state in "
      << Printable(broker.state_dir()) << "\n";
}

void PrintProblems(std::ostream& out, const wire::StatusResponse& status, bool colours) {
  for (const wire::Problem& problem : status.problems()) {
    const std::string subject = problem.subject().empty() ? "" : problem.subject() + ": ";
    out << Painted("  " + Printable(problem.cause() + ": " + subject + problem.says()),
                   Colour::kBad, colours)
        << "\n    mend it by: " << Printable(problem.mend()) << "\n";
  }
}

void PrintSessions(std::ostream& out, const wire::StatusResponse& status, bool colours) {
  Table table({"WORKSPACE", "GATEWAY", "PROTOCOL", "STATE", "LEASE", "UNSENT>", "CHANGES>",
               "OLDEST>", "FETCHED>", "UPLOADED>", "CALLS>", "INODES>", "CACHED>"});
  for (const wire::SessionInfo& session : status.sessions()) {
    table.Add({session.workspace(), session.gateway(), session.protocol(), State(session.state()),
               session.write_lease() ? "write" : "no", Dirty(session.dirty_bytes()),
               std::to_string(session.pending_mutations()),
               session.oldest_dirty_ms() == 0 ? "-" : HumanDuration(session.oldest_dirty_ms()),
               HumanBytes(session.fetched_bytes()), HumanBytes(session.uploaded_bytes()),
               std::to_string(session.gateway_calls()), std::to_string(session.cached_inodes()),
               HumanBytes(session.slab_bytes() + session.content_file_bytes())});
  }
  table.Print(out, colours);
  for (const wire::SessionInfo& session : status.sessions()) {
    if (session.leased_directories_size() != 0) {
      out << "  " << Printable(session.workspace()) << ": leases of directories:";
      for (const std::string& path : session.leased_directories()) out << " " << Printable(path);
      out << "\n";
    }
    if (session.last_error().empty()) continue;
    out << Painted("  " + Printable(session.workspace()) +
                       ": last error: " + Printable(session.last_error()),
                   Colour::kBad, colours)
        << "\n";
  }
}

void PrintExport(std::ostream& out, const wire::NfsInfo& nfs) {
  out << "  NFS version 3 on " << nfs.host() << " port " << nfs.port() << ", path " << nfs.path()
      << "\n";
  if (!nfs.mount_command().empty()) {
    out << "  mount it: " << Printable(nfs.mount_command()) << "\n";
  }
}

void PrintMounts(std::ostream& out, const wire::StatusResponse& status, bool colours) {
  Table table({"MOUNT POINT", "WORKSPACE", "STATE", "HOW", "UNSENT>", "MEMORY>", "READY IN>",
               "RESTARTS>", "OWNER>"});
  for (const wire::MountInfo& mount : status.mounts()) {
    table.Add({mount.mountpoint(), mount.workspace(), State(mount.state()), Flags(mount),
               Dirty(mount.dirty_bytes()), HumanBytes(mount.frontend_rss_bytes()),
               HumanLatency(mount.ready_us() * 1000), std::to_string(mount.frontend_restarts()),
               std::to_string(mount.owner_uid())});
  }
  table.Print(out, colours);
  for (const wire::MountInfo& mount : status.mounts()) {
    if (mount.has_nfs()) PrintExport(out, mount.nfs());
    if (mount.problem().empty()) continue;
    out << Painted("  " + Printable(mount.mountpoint()) + ": " + Printable(mount.problem()),
                   Colour::kBad, colours)
        << "\n";
  }
}

void PrintDetails(std::ostream& out, const wire::MountInfo& mount, bool colours) {
  if (!mount.latency_p50_ns().empty()) {
    Table table({"OPERATION", "P50>", "P99>"});
    const std::map<std::string, uint64_t> sorted(mount.latency_p50_ns().begin(),
                                                 mount.latency_p50_ns().end());
    for (const auto& [name, p50] : sorted) {
      const auto p99 = mount.latency_p99_ns().find(name);
      table.Add({name, HumanLatency(p50),
                 p99 == mount.latency_p99_ns().end() ? "-" : HumanLatency(p99->second)});
    }
    out << "\n";
    table.Print(out, colours);
  }
  if (!mount.counters().empty()) {
    Table table({"COUNTER", "VALUE>"});
    const std::map<std::string, uint64_t> sorted(mount.counters().begin(), mount.counters().end());
    for (const auto& [name, value] : sorted) table.Add({name, std::to_string(value)});
    out << "\n";
    table.Print(out, colours);
  }
}

}  // namespace

void PrintStatus(std::ostream& out, const wire::StatusResponse& status, bool one_mount,
                 bool colours) {
  PrintBroker(out, status.broker(), colours);
  PrintProblems(out, status, colours);
  if (status.mounts().empty()) {
    out << "no mounts\n";
  } else {
    out << "\n";
    PrintMounts(out, status, colours);
  }
  if (!status.sessions().empty()) {
    out << "\n";
    PrintSessions(out, status, colours);
  }
  if (!one_mount) return;
  for (const wire::MountInfo& mount : status.mounts()) PrintDetails(out, mount, colours);
}

void PrintMounted(std::ostream& out, const wire::MountInfo& mount, bool verbose) {
  const bool serves = mount.has_nfs() && !mount.nfs().mount_command().empty();
  out << (serves ? "serving " : "mounted ") << Printable(mount.workspace())
      << (serves ? " for " : " on ") << Printable(mount.mountpoint())
      << (mount.has_nfs() && !serves ? " over NFS" : "") << "\n";
  if (mount.has_nfs()) PrintExport(out, mount.nfs());
  if (!verbose) return;
  out << "  gateway " << Printable(mount.gateway()) << ", " << Flags(mount) << ", frontend pid "
      << mount.frontend_pid() << ", ready in " << HumanLatency(mount.ready_us() * 1000) << "\n";
}

void PrintDirty(std::ostream& out, const wire::DirtyResponse& dirty, bool colours) {
  if (dirty.files().empty()) {
    out << "no unsent files\n";
    return;
  }
  Table table({"WORKSPACE", "SIZE>", "AGE>", "LAST ERROR", "PATH"});
  for (const wire::DirtyFile& file : dirty.files()) {
    const Cell error =
        file.last_error() == 0 ? Cell("-") : Cell(strerror(file.last_error()), Colour::kBad);
    table.Add({file.workspace(), HumanBytes(file.bytes()), HumanDuration(file.age_ms()), error,
               file.earlier()        ? "(of an earlier session)"
               : file.path().empty() ? "(inode " + std::to_string(file.inode()) + ")"
                                     : Printable(file.path())});
  }
  table.Print(out, colours);
}

void PrintWorkspaces(std::ostream& out, const wire::WorkspaceList& list, bool colours) {
  if (list.workspaces().empty()) {
    out << "no workspaces\n";
    return;
  }
  Table table({"NAME", "ID", "USED>", "QUOTA>", "INODES>", "QUOTA>", "CREATED"});
  for (const wire::WorkspaceEntry& item : list.workspaces()) {
    table.Add({item.name(), item.id(), HumanBytes(item.used_bytes()),
               item.quota_bytes() == 0 ? "-" : HumanBytes(item.quota_bytes()),
               std::to_string(item.inodes()),
               item.quota_inodes() == 0 ? "-" : std::to_string(item.quota_inodes()),
               HumanTime(item.created_ns())});
  }
  table.Print(out, colours);
}

void PrintTokens(std::ostream& out, const wire::TokenList& list, bool colours) {
  if (list.tokens().empty()) {
    out << "no tokens\n";
    return;
  }
  Table table({"ID", "WORKSPACE", "PRINCIPAL", "ACCESS", "CREATED", "STATE"});
  for (const wire::TokenEntry& item : list.tokens()) {
    const Cell state = item.revoked_ns() == 0
                           ? Cell("valid", Colour::kGood)
                           : Cell("revoked " + HumanTime(item.revoked_ns()), Colour::kWarn);
    table.Add({item.id(), item.workspace(), item.principal(),
               item.read_only() ? "read-only" : "read-write", HumanTime(item.created_ns()), state});
  }
  table.Print(out, colours);
}

void PrintAccess(std::ostream& out, const wire::AccessEvents& list, bool colours) {
  if (list.events().empty()) {
    out << "nothing was read\n";
    return;
  }
  Table table({"TIME", "PATH", "OFFSET>", "READ>", "TOOK>", "FROM", "MOUNT", "OUTCOME"});
  for (const wire::AccessEvent& item : list.events()) {
    const Cell outcome =
        item.error().empty() ? Cell(item.outcome()) : Cell(item.error(), Colour::kWarn);
    table.Add({UtcTime(item.ts_ms()), item.path(), std::to_string(item.offset()),
               HumanBytes(static_cast<uint64_t>(item.read_bytes())),
               std::to_string(item.latency_ms()) + " ms", item.cache_source(), item.mount(),
               outcome});
  }
  table.Print(out, colours);
}

}  // namespace airstore::airctl
