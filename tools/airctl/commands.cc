// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/commands.h"

#include <pwd.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>

#include "broker/shell_word.h"
#include "shm/base/wipe.h"
#include "tools/airctl/client.h"
#include "tools/airctl/completion.h"
#include "tools/airctl/debug.h"
#include "tools/airctl/doctor_command.h"
#include "tools/airctl/failure.h"
#include "tools/airctl/force_unmount.h"
#include "tools/airctl/format.h"
#include "tools/airctl/gateway_status.h"
#include "tools/airctl/json_output.h"
#include "tools/airctl/json_schema.h"
#include "tools/airctl/mount_checks.h"
#include "tools/airctl/observe.h"
#include "tools/airctl/recover.h"
#include "tools/airctl/status_text.h"
#include "tools/airctl/store_check.h"
#include "tools/airctl/token_source.h"
#include "tools/airctl/token_store.h"
#include "tools/airctl/trace.h"
#include "tools/airctl/warm.h"

namespace airstore::airctl {
namespace {

std::string UserName() {
  const passwd* entry = getpwuid(getuid());
  return entry == nullptr ? std::to_string(getuid()) : entry->pw_name;
}

namespace wire = control::v1;

// Nothing: all went well.
using Trouble = std::optional<Failure>;

// May be asked again of another broker.
bool OnlyAsks(const wire::Request& request) {
  switch (request.what_case()) {
    case wire::Request::kStatus:
    case wire::Request::kVersion:
    case wire::Request::kDirty:
    case wire::Request::kFlush:
      return true;
    default:
      return false;
  }
}

// Whoever does not, hangs.
constexpr std::chrono::seconds kPatience{10};
bool AnswersAtOnce(const wire::Request& request) {
  return request.has_status() || request.has_version() || request.has_dirty();
}

Outcome<wire::Response> Ask(const Invocation& asked, const wire::Request& request,
                            const std::string& doing) {
  Progress progress(doing, asked.verbose);
  for (bool again = false;; again = true) {
    auto client = BrokerClient::Connect(asked.socket);
    if (!client.value) return client.failure;
    if (AnswersAtOnce(request)) client.value->SetPatience(kPatience);
    auto answer = client.value->Call(request, progress);
    // The broker may have been replaced by another one.
    if (answer.value || again || !client.value->lost() || !OnlyAsks(request)) return answer;
  }
}

Trouble FillGateway(const Invocation& asked, const Surroundings& around, wire::GatewayRef* to) {
  const char* variable = around.getenv("AIRSTORE_TOKEN");
  std::string file = asked.token_file;
  const bool given = !file.empty() || (variable != nullptr && *variable != '\0');
  if (!given && asked.command == Command::kMount) {
    file = KeptToken(TokenDirectory(around.getenv), asked.workspace);
  }
  auto token = ReadToken(file, variable);
  if (!token.value) return token.failure;
  to->set_address(asked.gateway);
  to->set_token(std::move(*token.value));
  return {};
}

Trouble Mount(const Invocation& asked, const Surroundings& around) {
  if (!asked.backend.empty() && asked.backend != "fuse" && asked.backend != "nfs" &&
      asked.backend != "auto") {
    return Failure{wire::FAILURE_KIND_USAGE, "AIRSTORE_MOUNT_BACKEND is \"" + asked.backend + "\"",
                   "it may be fuse, nfs or auto"};
  }
  std::string where = asked.mountpoint;
  if (where.empty()) {
    const auto made = MakeMountPoint(kDefaultMountPoint);
    if (!made.value) return made.failure;
    where = *made.value;
  }
  // What is only served hides nothing, and need not be there.
  const auto mountpoint = asked.serve_only ? Outcome<std::string>(AbsoluteMountPoint(where))
                                           : CheckMountPoint(where, {asked.allow_non_empty});
  if (!mountpoint.value) return mountpoint.failure;
  wire::Request request;
  wire::MountRequest* mount = request.mutable_mount();
  if (auto trouble = FillGateway(asked, around, mount->mutable_gateway())) return trouble;
  mount->set_workspace(asked.workspace);
  mount->set_mountpoint(*mountpoint.value);
  if (asked.uid) mount->set_uid(*asked.uid);
  if (asked.gid) mount->set_gid(*asked.gid);
  if (asked.root_squash) mount->set_squash(wire::SQUASH_ROOT);
  if (asked.all_squash) mount->set_squash(wire::SQUASH_ALL);
  if (asked.anon_uid) mount->set_anonymous_uid(*asked.anon_uid);
  if (asked.anon_gid) mount->set_anonymous_gid(*asked.anon_gid);
  mount->set_read_only(asked.read_only);
  if (asked.backend == "fuse") mount->set_backend(wire::BACKEND_FUSE);
  if (asked.backend == "nfs") mount->set_backend(wire::BACKEND_NFS);
  mount->set_serve_only(asked.serve_only);
  mount->set_nfs_auth_none(asked.nfs_auth_none);
  if (asked.passthrough == "off") mount->set_passthrough(wire::PASSTHROUGH_OFF);
  if (asked.atime == "relatime") mount->set_atime(wire::ATIME_RELATIME);
  if (asked.fsync == "local") mount->set_fsync(wire::FSYNC_LOCAL);
  mount->set_verbose(asked.verbose);
  if (!asked.virtual_nodes.empty()) mount->set_virtual_nodes(asked.virtual_nodes);
  if (!asked.compression.empty()) mount->set_compression(asked.compression);
  if (asked.access_session) mount->set_access_session(*asked.access_session);
  if (!asked.access_log.empty()) mount->set_access_log(asked.access_log == "on");
  const auto answer = Ask(asked, request, "mounting " + Printable(*mountpoint.value));
  Wipe(*mount->mutable_gateway()->mutable_token());
  if (!answer.value) return answer.failure;
  if (mount->squash() != wire::SQUASH_NOBODY && answer.value->mount().mount().squash().empty()) {
    // One that does not know of it has left it out.
    wire::Request undo;
    undo.mutable_unmount()->set_mountpoint(*mountpoint.value);
    (void)Ask(asked, undo, "unmounting " + Printable(*mountpoint.value));
    return Failure{wire::FAILURE_KIND_HOST, "this airstored squashes nobody: it is too old",
                   "airctl upgrade"};
  }
  if (asked.json) {
    around.out << ToJson(answer.value->mount()) << "\n";
  } else {
    PrintMounted(around.out, answer.value->mount().mount(), asked.verbose);
  }
  return {};
}

Trouble Unmount(const Invocation& asked, const Surroundings& around) {
  const std::string mountpoint = AbsoluteMountPoint(asked.mountpoint);
  wire::Request request;
  request.mutable_unmount()->set_mountpoint(mountpoint);
  request.mutable_unmount()->set_force(asked.force);
  const auto answer = Ask(asked, request, "unmounting " + Printable(mountpoint));
  if (!answer.value) {
    // No broker, or one that does not know it: a mount that was left behind.
    const bool not_its = answer.failure.kind == wire::FAILURE_KIND_NOT_FOUND;
    const bool unknown = not_its || answer.failure.kind == wire::FAILURE_KIND_UNREACHABLE;
    if (!unknown || !IsAirstoreMount(mountpoint)) return answer.failure;
    Failure failure = answer.failure;
    // Another broker's is that one's to detach: it keeps what is unsent.
    if (asked.force && not_its && IsServed(mountpoint)) {
      failure.advice = "--socket names another broker, which may serve it";
      return failure;
    }
    if (!asked.force) {
      if (IsStaleMount(mountpoint)) {
        failure.message = mountpoint + " is a stale mount that nobody serves";
        failure.advice = "airctl unmount --force " + ShellWord(mountpoint);
      }
      return failure;
    }
    const auto detached = DetachHere(mountpoint);
    if (!detached.value) return detached.failure;
  }
  const wire::UnmountResponse left =
      answer.value ? answer.value->unmount() : wire::UnmountResponse();
  if (asked.json) {
    around.out << ToJson(left) << "\n";
    return {};
  }
  around.out << "unmounted " << Printable(mountpoint) << "\n";
  if (left.unsent_changes() != 0 || left.unsent_bytes() != 0) {
    around.err << left.unsent_changes() << " changes (" << HumanBytes(left.unsent_bytes())
               << ") are not at the gateway yet"
               << (left.unsent_why().empty() ? "" : ": " + Printable(left.unsent_why()))
               << "; the broker keeps them and goes on sending them\n";
  }
  return {};
}

Trouble Status(const Invocation& asked, const Surroundings& around) {
  wire::Request request;
  const bool one = !asked.mountpoint.empty();
  request.mutable_status()->set_mountpoint(one ? AbsoluteMountPoint(asked.mountpoint) : "");
  const auto answer = Ask(asked, request, "asking the broker");
  if (!answer.value) return answer.failure;
  if (asked.json) {
    around.out << ToJson(answer.value->status()) << "\n";
  } else {
    PrintStatus(around.out, answer.value->status(), one, around.colours);
  }
  return {};
}

Trouble Dirty(const Invocation& asked, const Surroundings& around) {
  wire::Request request;
  request.mutable_dirty()->set_mountpoint(
      asked.mountpoint.empty() ? "" : AbsoluteMountPoint(asked.mountpoint));
  const auto answer = Ask(asked, request, "asking the broker");
  if (!answer.value) return answer.failure;
  if (asked.json) {
    around.out << ToJson(answer.value->dirty()) << "\n";
  } else {
    PrintDirty(around.out, answer.value->dirty(), around.colours);
  }
  return {};
}

Trouble Flush(const Invocation& asked, const Surroundings& around) {
  wire::Request request;
  request.mutable_flush()->set_mountpoint(
      asked.mountpoint.empty() ? "" : AbsoluteMountPoint(asked.mountpoint));
  request.mutable_flush()->set_timeout_ms(
      static_cast<uint64_t>(std::ceil(asked.timeout_seconds * 1000)));
  const auto answer = Ask(asked, request, "sending changes to the gateway");
  if (!answer.value) return answer.failure;
  around.out << (asked.json ? "{}\n" : "everything is at the gateway\n");
  return {};
}

// The broker that is replaced does not answer: the one that answers then tells by its pid which of
// them goes on.
Trouble Upgrade(const Invocation& asked, const Surroundings& around) {
  wire::Request status;
  status.mutable_status();
  const auto before = Ask(asked, status, "asking the broker");
  if (!before.value) return before.failure;
  const uint32_t old_pid = before.value->status().broker().pid();
  wire::Request request;
  if (!asked.program.empty()) {
    request.mutable_upgrade()->set_program(
        std::filesystem::absolute(asked.program).lexically_normal().string());
  } else {
    request.mutable_upgrade();
  }
  Progress progress("upgrading", asked.verbose);
  auto client = BrokerClient::Connect(asked.socket);
  if (!client.value) return client.failure;
  const auto answer = client.value->Call(request, progress);
  if (!answer.value && !client.value->lost()) return answer.failure;
  const auto after = Ask(asked, status, "waiting for the new broker");
  if (!after.value) return after.failure;
  const wire::BrokerInfo& broker = after.value->status().broker();
  if (broker.pid() == old_pid) {
    return Failure{wire::FAILURE_KIND_INTERNAL,
                   "the new broker did not take over; the old one has gone on",
                   "look into its log ('journalctl -u airstored')"};
  }
  if (asked.json) {
    around.out << ToJson(broker) << "\n";
  } else {
    around.out << "airstored " << Printable(broker.version()) << " (pid " << broker.pid()
               << ") has taken over from pid " << old_pid << "\n";
  }
  return {};
}

Trouble Version(const Invocation& asked, const Surroundings& around) {
  wire::Request request;
  request.mutable_version();
  const auto answer = Ask(asked, request, "asking the broker");
  if (asked.json) {
    around.out << "{\"airctl\":{\"version\":\"" AIRSTORE_VERSION "\"},\"broker\":"
               << (answer.value ? ToJson(answer.value->version()) : "null") << "}\n";
    return {};
  }
  around.out << "airctl    " AIRSTORE_VERSION "\nairstored ";
  if (answer.value) {
    around.out << Printable(answer.value->version().version()) << " (shared memory layout "
               << answer.value->version().shm_abi() << ")\n";
  } else if (answer.failure.message.find("does not answer") != std::string::npos) {
    around.out << "does not answer\n";
  } else {
    around.out << "not running\n";
  }
  return {};
}

Outcome<wire::Response> Administer(const Invocation& asked, const Surroundings& around) {
  wire::Request request;
  wire::GatewayRef* gateway = nullptr;
  switch (asked.command) {
    case Command::kWorkspaceCreate:
      request.mutable_workspace_create()->set_name(asked.name);
      request.mutable_workspace_create()->set_quota_bytes(asked.quota_bytes.value_or(0));
      request.mutable_workspace_create()->set_quota_inodes(asked.quota_inodes.value_or(0));
      gateway = request.mutable_workspace_create()->mutable_gateway();
      break;
    case Command::kWorkspaceList:
      gateway = request.mutable_workspace_list()->mutable_gateway();
      break;
    case Command::kWorkspaceDelete:
      request.mutable_workspace_delete()->set_name(asked.name);
      gateway = request.mutable_workspace_delete()->mutable_gateway();
      break;
    case Command::kWorkspaceSet: {
      wire::WorkspaceSetRequest* set = request.mutable_workspace_set();
      set->set_name(asked.name);
      if (asked.quota_bytes) set->set_quota_bytes(*asked.quota_bytes);
      if (asked.quota_inodes) set->set_quota_inodes(*asked.quota_inodes);
      gateway = set->mutable_gateway();
      break;
    }
    case Command::kTokenCreate:
      request.mutable_token_create()->set_workspace(asked.workspace);
      request.mutable_token_create()->set_principal(asked.principal.empty() ? UserName()
                                                                            : asked.principal);
      request.mutable_token_create()->set_read_only(asked.read_only);
      gateway = request.mutable_token_create()->mutable_gateway();
      break;
    case Command::kAccessLog: {
      wire::AccessLogRequest* log = request.mutable_access_log();
      log->set_workspace(asked.workspace);
      log->set_path(asked.path);
      log->set_since_ms(asked.since_ms);
      log->set_limit(asked.limit);
      gateway = log->mutable_gateway();
      break;
    }
    case Command::kTokenList:
      request.mutable_token_list()->set_workspace(asked.workspace);
      gateway = request.mutable_token_list()->mutable_gateway();
      break;
    default:
      request.mutable_token_revoke()->set_id(asked.name);
      gateway = request.mutable_token_revoke()->mutable_gateway();
      break;
  }
  if (const auto trouble = FillGateway(asked, around, gateway)) return *trouble;
  auto answer = Ask(asked, request, "asking the gateway");
  Wipe(*gateway->mutable_token());
  return answer;
}

void PrintAdministered(const Invocation& asked, const wire::Response& answer,
                       const Surroundings& around) {
  if (asked.json) {
    if (answer.has_workspaces()) {
      around.out << ToJson(answer.workspaces()) << "\n";
    } else if (answer.has_tokens()) {
      around.out << ToJson(answer.tokens()) << "\n";
    } else if (answer.has_access_events()) {
      around.out << ToJson(answer.access_events()) << "\n";
    } else if (answer.has_token_created()) {
      around.out << ToJson(answer.token_created()) << "\n";
    } else {
      around.out << "{}\n";
    }
    return;
  }
  switch (asked.command) {
    case Command::kWorkspaceCreate:
      around.out << "created workspace " << Printable(asked.name) << "\n";
      break;
    case Command::kWorkspaceSet:
      around.out << "changed workspace " << Printable(asked.name) << "\n";
      PrintWorkspaces(around.out, answer.workspaces(), around.colours);
      break;
    case Command::kWorkspaceDelete:
      around.out << "deleted workspace " << Printable(asked.name) << "\n";
      break;
    case Command::kWorkspaceList:
      PrintWorkspaces(around.out, answer.workspaces(), around.colours);
      break;
    case Command::kTokenCreate: {
      // Only the secret goes to stdout, so that it can go straight into a file.
      const wire::TokenEntry& token = answer.token_created().token();
      around.err << "token " << Printable(token.id()) << " for workspace "
                 << Printable(token.workspace()) << "; its secret is shown this once:\n";
      around.out << Printable(answer.token_created().secret()) << "\n";
      break;
    }
    case Command::kAccessLog:
      PrintAccess(around.out, answer.access_events(), around.colours);
      break;
    case Command::kTokenList:
      PrintTokens(around.out, answer.tokens(), around.colours);
      break;
    default:
      around.out << "revoked token " << Printable(asked.name) << "\n";
      break;
  }
}

Trouble Evict(const Invocation& asked, const Surroundings& around) {
  std::error_code error;
  const std::string path = std::filesystem::canonical(asked.mountpoint, error).string();
  if (error) {
    return Failure{wire::FAILURE_KIND_NOT_FOUND,
                   Printable(asked.mountpoint) + ": " + error.message(), ""};
  }
  wire::Request request;
  request.mutable_evict()->set_path(path);
  const auto answer = Ask(asked, request, "giving up what is cached of " + Printable(path));
  if (!answer.value) return answer.failure;
  const wire::EvictResponse& evicted = answer.value->evicted();
  if (asked.json) {
    around.out << ToJson(evicted) << "\n";
    return {};
  }
  const auto files = [](uint64_t count) {
    return std::to_string(count) + (count == 1 ? " file" : " files");
  };
  around.out << "freed " << HumanBytes(evicted.bytes()) << " of " << files(evicted.files());
  if (evicted.kept_files() != 0) {
    around.out << "; kept " << HumanBytes(evicted.kept_bytes()) << " of "
               << files(evicted.kept_files()) << " in use or not at the gateway yet";
  }
  around.out << "\n";
  return {};
}

Trouble Login(const Invocation& asked, const Surroundings& around) {
  auto token = ReadToken(asked.token_file, around.getenv("AIRSTORE_TOKEN"));
  if (!token.value) return token.failure;
  const WipeAtEnd wipe(*token.value);
  const auto kept = KeepToken(TokenDirectory(around.getenv), asked.workspace, *token.value);
  if (!kept.value) return kept.failure;
  around.out << (asked.json ? "{}" : "kept in " + Printable(*kept.value)) << "\n";
  return {};
}

Trouble Do(const Invocation& asked, const Surroundings& around) {
  switch (asked.command) {
    case Command::kMount:
      return Mount(asked, around);
    case Command::kUnmount:
      return Unmount(asked, around);
    case Command::kStatus:
      return Status(asked, around);
    case Command::kDirty:
      return Dirty(asked, around);
    case Command::kFlush:
      return Flush(asked, around);
    case Command::kUpgrade:
      return Upgrade(asked, around);
    case Command::kRecover:
      return Recover(asked, around);
    case Command::kDoctor:
      return Doctor(asked, around);
    case Command::kTrace:
      return Trace(asked, around);
    case Command::kStats:
      return Stats(asked, around);
    case Command::kTop:
      return Top(asked, around);
    case Command::kWarm:
      return Warm(asked, around);
    case Command::kEvict:
      return Evict(asked, around);
    case Command::kFsck:
    case Command::kGc: {
      wire::GatewayRef gateway;
      if (auto trouble = FillGateway(asked, around, &gateway)) return trouble;
      auto trouble = CheckStore(asked, around, gateway);
      Wipe(*gateway.mutable_token());
      return trouble;
    }
    case Command::kGatewayStatus: {
      // Without a token it is only asked whether they answer.
      wire::GatewayRef gateway;
      const char* variable = around.getenv("AIRSTORE_TOKEN");
      gateway.set_address(asked.gateway);
      if (!asked.token_file.empty() || (variable != nullptr && *variable != '\0')) {
        if (auto trouble = FillGateway(asked, around, &gateway)) return trouble;
      }
      auto trouble = GatewayStatus(asked, around, gateway);
      Wipe(*gateway.mutable_token());
      return trouble;
    }
    case Command::kLogin:
      return Login(asked, around);
    case Command::kDebugSpool:
      return DebugSpool(asked, around);
    case Command::kDebugJournal:
      return DebugJournal(asked, around);
    case Command::kDebugShm:
      return DebugShm(asked, around);
    case Command::kDebugBundle:
      return DebugBundle(asked, around);
    case Command::kSchema:
      around.out << JsonSchema() << "\n";
      return {};
    case Command::kVersion:
      return Version(asked, around);
    case Command::kCompletion:
      around.out << CompletionScript(asked.name);
      return {};
    default: {
      const auto answer = Administer(asked, around);
      if (!answer.value) return answer.failure;
      PrintAdministered(asked, *answer.value, around);
      return {};
    }
  }
}

}  // namespace

int Run(const Invocation& invocation, const Surroundings& around) {
  const Trouble trouble = Do(invocation, around);
  if (!trouble) return 0;
  if (!trouble->message.empty()) {
    PrintFailure(invocation.json ? around.out : around.err, *trouble, invocation.json);
  }
  return ExitCode(trouble->kind);
}

}  // namespace airstore::airctl
