// SPDX-License-Identifier: Apache-2.0
#include "broker/control_requests.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>

#include "broker/as_caller.h"
#include "broker/clock.h"
#include "broker/control_convert.h"
#include "broker/gateway_address.h"
#include "broker/log_event.h"
#include "broker/utf8_text.h"
#include "shm/abi.h"
#include "shm/base/wipe.h"

namespace airstore::broker {
namespace {

namespace wire = control::v1;

wire::Response Failed(const Failure& failure) {
  wire::Response response;
  ToWire(failure, response.mutable_failure());
  return response;
}

wire::Response Done() {
  wire::Response response;
  response.mutable_done();
  return response;
}

// A privileged broker must not reach sockets for people who could not reach them themselves.
Task<std::optional<Failure>> Forbidden(Caller caller, std::string address) {
  if (Governs(caller)) co_return std::nullopt;
  for (const std::string& one : SplitGatewayAddresses(address)) {
    const size_t unix_at = one.find("unix:");
    if (unix_at == std::string::npos) continue;
    const auto may = co_await MayWriteAs(caller, one.substr(unix_at + 5));
    // Of what is not there the gateway's own error says more.
    if (may || may.error().code == ENOENT) continue;
    if (may.error().code == ETIMEDOUT) {
      co_return Failure{FailureKind::kHost, one + " does not answer",
                        "look at what is mounted there"};
    }
    co_return Failure{FailureKind::kPermission, "you may not connect to " + one, ""};
  }
  co_return std::nullopt;
}

// Wipes the token of the gateway that a request names, at the end of its scope.
class WipeToken {
 public:
  explicit WipeToken(wire::Request& request) : request_(request) {}
  ~WipeToken() {
    const auto* reflection = request_.GetReflection();
    const auto* field = reflection->GetOneofFieldDescriptor(
        request_, request_.GetDescriptor()->FindOneofByName("what"));
    if (field == nullptr) return;
    google::protobuf::Message* what = reflection->MutableMessage(&request_, field);
    const auto* gateway = what->GetDescriptor()->FindFieldByName("gateway");
    if (gateway == nullptr || gateway->message_type() != wire::GatewayRef::descriptor()) return;
    auto* ref =
        static_cast<wire::GatewayRef*>(what->GetReflection()->MutableMessage(what, gateway));
    Wipe(*ref->mutable_token());
  }
  WipeToken(const WipeToken&) = delete;
  WipeToken& operator=(const WipeToken&) = delete;

 private:
  wire::Request& request_;
};

}  // namespace

Task<Outcome<std::string>> ControlRequests::GatewayFor(Caller caller,
                                                       const wire::GatewayRef& gateway) {
  using Address = Outcome<std::string>;
  const std::string configured = api_.default_gateway();
  const std::string address = gateway.address().empty() ? configured : gateway.address();
  if (address.empty()) {
    co_return Address{{},
                      {FailureKind::kUsage, "no gateway was named",
                       "give --gateway ADDRESS, or set gateway in airstored's configuration"}};
  }
  if (gateway.token().empty()) {
    co_return Address{{},
                      {FailureKind::kUsage, "no token was given",
                       "put it into a file and give --token-file FILE, or set AIRSTORE_TOKEN"}};
  }
  if (address != configured) {
    if (auto forbidden = co_await Forbidden(caller, address)) co_return Address{{}, *forbidden};
  }
  co_return Address{address, {}};
}

Task<wire::Response> ControlRequests::GatewayStatus(Caller caller,
                                                    wire::GatewayStatusRequest request) {
  const WipeAtEnd wipe(*request.mutable_gateway()->mutable_token());
  const auto status = api_.Status(caller, "");
  if (!status.value) co_return Failed(status.failure);
  const std::string configured = api_.default_gateway();
  std::vector<std::string> asked = {request.gateway().address()};
  if (asked.front().empty()) {
    asked = {configured};
    for (const SessionStatus& session : status.value->sessions) asked.push_back(session.gateway);
  } else if (asked.front() != configured) {
    if (const auto forbidden = co_await Forbidden(caller, asked.front())) {
      co_return Failed(*forbidden);
    }
  }
  std::vector<std::string> each;
  size_t trusted = 0;  // so many of them; the rest was named by who mounted there
  for (size_t i = 0; i < asked.size(); ++i) {
    for (const std::string& one : SplitGatewayAddresses(asked[i])) {
      if (asked[i].empty() || std::find(each.begin(), each.end(), one) != each.end()) continue;
      each.push_back(one);
    }
    if (i == 0) trusted = each.size();
  }
  std::vector<std::string> in_use;  // of each session
  for (const SessionStatus& session : status.value->sessions) {
    const auto client = admin_(session.gateway, "");
    if (client.value) in_use.push_back((*client.value)->in_use());
  }
  wire::Response response;
  response.mutable_gateway_status();
  for (size_t i = 0; i < each.size(); ++i) {
    const std::string& address = each[i];
    const std::string token = i < trusted ? request.gateway().token() : "";
    const auto parsed = ParseGatewayAddress(address);
    if (!parsed) co_return Failed({FailureKind::kUsage, parsed.error().message, ""});
    wire::GatewayState* state = response.mutable_gateway_status()->add_gateways();
    state->set_address(AsUtf8(address));
    state->set_sessions_here(
        static_cast<uint32_t>(std::count(in_use.begin(), in_use.end(), parsed->target)));
    const auto admin = admin_(address, token);
    if (!admin.value) {
      state->set_problem(admin.failure.message);
      continue;
    }
    const int64_t begun_ns = MonotonicNs();
    const auto report = co_await (*admin.value)->GetStatus();
    const auto took_us = static_cast<uint64_t>((MonotonicNs() - begun_ns) / 1000);
    // Whoever refuses has answered.
    state->set_reached(report.value || report.failure.kind != FailureKind::kUnreachable);
    if (state->reached()) state->set_round_trip_us(took_us);
    if (report.value) {
      state->set_told(true);
      ToWire(*report.value, state);
    } else if (!state->reached() || !token.empty()) {
      state->set_problem(AsUtf8(report.failure.message));
    }
  }
  co_return response;
}

Task<Outcome<std::shared_ptr<AdminClient>>> ControlRequests::AdminFor(
    Caller caller, const wire::GatewayRef& gateway) {
  auto address = co_await GatewayFor(std::move(caller), gateway);
  if (!address.value) {
    co_return Outcome<std::shared_ptr<AdminClient>>{std::nullopt, address.failure};
  }
  co_return admin_(*address.value, gateway.token());
}

Task<wire::Response> ControlRequests::Answer(Caller caller, wire::Request request,
                                             ProgressFn progress) {
  switch (request.what_case()) {
    case wire::Request::kMount:
      co_return co_await Mount(caller, std::move(*request.mutable_mount()), std::move(progress));
    case wire::Request::kUnmount:
      co_return co_await Unmount(caller, std::move(*request.mutable_unmount()),
                                 std::move(progress));
    case wire::Request::kStatus:
      co_return Status(caller, request.status());
    case wire::Request::kDirty:
      co_return co_await Dirty(caller, request.dirty().mountpoint());
    case wire::Request::kFlush:
      co_return co_await Flush(caller, std::move(*request.mutable_flush()), std::move(progress));
    case wire::Request::kUpgrade: {
      LogEvent(spdlog::level::info,
               {{"uid", std::to_string(caller.uid)}, {"pid", std::to_string(caller.pid)}},
               "control: uid {} pid {}: upgrade {}", caller.uid, caller.pid,
               request.upgrade().program());
      const auto done =
          co_await api_.Upgrade(caller, request.upgrade().program(), std::move(progress));
      co_return done.value ? Done() : Failed(done.failure);
    }
    case wire::Request::kEvict: {
      const auto done = co_await api_.Evict(caller, request.evict().path());
      if (!done.value) co_return Failed(done.failure);
      wire::Response response;
      ToWire(*done.value, response.mutable_evicted());
      co_return response;
    }
    case wire::Request::kTrace:
      co_return Trace(caller, request.trace());
    case wire::Request::kGatewayStatus:
      co_return co_await GatewayStatus(caller, std::move(*request.mutable_gateway_status()));
    case wire::Request::kLostList:
    case wire::Request::kLostRead:
    case wire::Request::kLostDiscard:
      co_return Lost(caller, request);
    case wire::Request::kVersion: {
      wire::Response response;
      response.mutable_version()->set_version(AIRSTORE_VERSION);
      response.mutable_version()->set_shm_abi(shm::AbiMajor());
      co_return response;
    }
    case wire::Request::WHAT_NOT_SET:
      co_return Failed({FailureKind::kUsage, "this broker does not know the request",
                        "airctl and airstored may be of different versions ('airctl version')"});
    default:
      co_return co_await Administer(caller, std::move(request));
  }
}

wire::Response ControlRequests::Trace(const Caller& caller, const wire::TraceRequest& request) {
  const uint64_t slow_us = std::min<uint64_t>(request.slow_us(), INT64_MAX / 1000);
  const auto answer = api_.Trace(caller, request.mountpoint(), request.after(),
                                 static_cast<int64_t>(slow_us) * 1000);
  if (!answer.value) return Failed(answer.failure);
  wire::Response response;
  wire::TraceResponse* trace = response.mutable_trace();
  trace->set_next(answer.value->next);
  trace->set_missed(answer.value->missed);
  for (const TracedCall& call : answer.value->calls) {
    wire::TracedCall* to = trace->add_calls();
    to->set_number(call.number);
    to->set_ended_ns(call.ended_ns);
    to->set_op(call.op);
    to->set_path(AsUtf8(call.path));
    to->set_inode(call.inode);
    to->set_duration_ns(static_cast<uint64_t>(call.duration_ns));
    to->set_error(call.error);
  }
  for (const auto& [op, totals] : answer.value->ops) {
    wire::OpTotals& to = (*trace->mutable_ops())[op];
    to.set_count(totals.count);
    to.set_errors(totals.errors);
    to.set_total_ns(totals.total_ns);
  }
  return response;
}

Task<wire::Response> ControlRequests::Mount(Caller caller, wire::MountRequest request,
                                            ProgressFn progress) {
  const auto address = co_await GatewayFor(caller, request.gateway());
  if (!address.value) co_return Failed(address.failure);
  MountSpec spec = FromWire(request);
  spec.gateway = *address.value;
  LogEvent(spdlog::level::info,
           {{"uid", std::to_string(caller.uid)},
            {"pid", std::to_string(caller.pid)},
            {"mount", spec.mountpoint},
            {"workspace", spec.workspace},
            {"gateway", spec.gateway}},
           "control: uid {} pid {}: mount {} of workspace '{}' at {}", caller.uid, caller.pid,
           spec.mountpoint, spec.workspace, spec.gateway);
  auto mounted = co_await api_.Mount(caller, spec, std::move(progress));
  if (!mounted.value) co_return Failed(mounted.failure);
  wire::Response response;
  ToWire(*mounted.value, response.mutable_mount()->mutable_mount());
  co_return response;
}

Task<wire::Response> ControlRequests::Unmount(Caller caller, wire::UnmountRequest request,
                                              ProgressFn progress) {
  LogEvent(spdlog::level::info,
           {{"uid", std::to_string(caller.uid)},
            {"pid", std::to_string(caller.pid)},
            {"mount", request.mountpoint()}},
           "control: uid {} pid {}: unmount {}{}", caller.uid, caller.pid, request.mountpoint(),
           request.force() ? " (forced)" : "");
  const auto done =
      co_await api_.Unmount(caller, request.mountpoint(), request.force(), std::move(progress));
  if (!done.value) co_return Failed(done.failure);
  wire::Response response;
  response.mutable_unmount()->set_unsent_changes(done.value->changes);
  response.mutable_unmount()->set_unsent_bytes(done.value->bytes);
  response.mutable_unmount()->set_unsent_why(done.value->why);
  co_return response;
}

wire::Response ControlRequests::Status(const Caller& caller, const wire::StatusRequest& request) {
  const auto status = api_.Status(caller, request.mountpoint());
  if (!status.value) return Failed(status.failure);
  wire::Response response;
  ToWire(*status.value, response.mutable_status());
  response.mutable_status()->mutable_broker()->set_gateway(api_.default_gateway());
  return response;
}

Task<wire::Response> ControlRequests::Dirty(Caller caller, std::string mountpoint) {
  const auto files = co_await api_.Dirty(caller, mountpoint);
  if (!files.value) co_return Failed(files.failure);
  wire::Response response;
  response.mutable_dirty();
  for (const DirtyFile& file : *files.value) ToWire(file, response.mutable_dirty()->add_files());
  co_return response;
}

wire::Response ControlRequests::Lost(const Caller& caller, const wire::Request& request) {
  wire::Response response;
  if (request.has_lost_read()) {
    auto data = api_.ReadLost(caller, request.lost_read().id(), request.lost_read().offset());
    if (!data.value) return Failed(data.failure);
    response.mutable_lost_data()->set_data(std::move(*data.value));
    return response;
  }
  if (request.has_lost_discard()) {
    LogEvent(spdlog::level::info,
             {{"uid", std::to_string(caller.uid)}, {"pid", std::to_string(caller.pid)}},
             "control: uid {} pid {}: discard {} from lost+found", caller.uid, caller.pid,
             request.lost_discard().id());
    const auto done = api_.DiscardLost(caller, request.lost_discard().id());
    return done.value ? Done() : Failed(done.failure);
  }
  const auto items = api_.Lost(caller);
  if (!items.value) return Failed(items.failure);
  response.mutable_lost();
  for (const LostFile& item : *items.value) ToWire(item, response.mutable_lost()->add_items());
  return response;
}

Task<wire::Response> ControlRequests::Flush(Caller caller, wire::FlushRequest request,
                                            ProgressFn progress) {
  const auto done =
      co_await api_.Flush(caller, request.mountpoint(), request.timeout_ms(), std::move(progress));
  co_return done.value ? Done() : Failed(done.failure);
}

Task<wire::Response> ControlRequests::Administer(Caller caller, wire::Request request) {
  const WipeToken wipe(request);
  wire::Response response;
  switch (request.what_case()) {
    case wire::Request::kWorkspaceCreate: {
      const auto admin = co_await AdminFor(caller, request.workspace_create().gateway());
      if (!admin.value) co_return Failed(admin.failure);
      const wire::WorkspaceCreateRequest& create = request.workspace_create();
      const Quota quota{create.quota_bytes(), create.quota_inodes()};
      const auto made = co_await (*admin.value)->CreateWorkspace(create.name(), quota);
      if (!made.value) co_return Failed(made.failure);
      ToWire(*made.value, response.mutable_workspaces()->add_workspaces());
      co_return response;
    }
    case wire::Request::kWorkspaceSet: {
      const wire::WorkspaceSetRequest& set = request.workspace_set();
      const auto admin = co_await AdminFor(caller, set.gateway());
      if (!admin.value) co_return Failed(admin.failure);
      Quota quota;
      if (set.has_quota_bytes()) quota.bytes = set.quota_bytes();
      if (set.has_quota_inodes()) quota.inodes = set.quota_inodes();
      const auto changed = co_await (*admin.value)->SetQuota(set.name(), quota);
      if (!changed.value) co_return Failed(changed.failure);
      ToWire(*changed.value, response.mutable_workspaces()->add_workspaces());
      co_return response;
    }
    case wire::Request::kWorkspaceList: {
      const auto admin = co_await AdminFor(caller, request.workspace_list().gateway());
      if (!admin.value) co_return Failed(admin.failure);
      const auto listed = co_await (*admin.value)->ListWorkspaces();
      if (!listed.value) co_return Failed(listed.failure);
      response.mutable_workspaces();
      for (const auto& item : *listed.value) {
        ToWire(item, response.mutable_workspaces()->add_workspaces());
      }
      co_return response;
    }
    case wire::Request::kWorkspaceDelete: {
      const auto admin = co_await AdminFor(caller, request.workspace_delete().gateway());
      if (!admin.value) co_return Failed(admin.failure);
      const auto done = co_await (*admin.value)->DeleteWorkspace(request.workspace_delete().name());
      co_return done.value ? Done() : Failed(done.failure);
    }
    case wire::Request::kTokenCreate: {
      const wire::TokenCreateRequest& create = request.token_create();
      const auto admin = co_await AdminFor(caller, create.gateway());
      if (!admin.value) co_return Failed(admin.failure);
      const auto made =
          co_await (*admin.value)
              ->CreateToken(create.workspace(), create.principal(), create.read_only());
      if (!made.value) co_return Failed(made.failure);
      ToWire(made.value->token, response.mutable_token_created()->mutable_token());
      response.mutable_token_created()->set_secret(made.value->secret);
      co_return response;
    }
    case wire::Request::kTokenList: {
      const auto admin = co_await AdminFor(caller, request.token_list().gateway());
      if (!admin.value) co_return Failed(admin.failure);
      const auto listed = co_await (*admin.value)->ListTokens(request.token_list().workspace());
      if (!listed.value) co_return Failed(listed.failure);
      response.mutable_tokens();
      for (const auto& item : *listed.value) {
        ToWire(item, response.mutable_tokens()->add_tokens());
      }
      co_return response;
    }
    case wire::Request::kAccessLog: {
      const wire::AccessLogRequest& asked = request.access_log();
      const auto admin = co_await AdminFor(caller, asked.gateway());
      if (!admin.value) co_return Failed(admin.failure);
      const AccessQuery query{asked.workspace(), asked.path(), asked.since_ms(), asked.limit()};
      const auto found = co_await (*admin.value)->QueryAccessLog(query);
      if (!found.value) co_return Failed(found.failure);
      response.mutable_access_events();
      for (const auto& item : *found.value) {
        ToWire(item, response.mutable_access_events()->add_events());
      }
      co_return response;
    }
    case wire::Request::kTokenRevoke: {
      const auto admin = co_await AdminFor(caller, request.token_revoke().gateway());
      if (!admin.value) co_return Failed(admin.failure);
      const auto done = co_await (*admin.value)->RevokeToken(request.token_revoke().id());
      co_return done.value ? Done() : Failed(done.failure);
    }
    case wire::Request::kStoreCheck: {
      const wire::StoreCheckRequest& asked = request.store_check();
      const auto admin = co_await AdminFor(caller, asked.gateway());
      if (!admin.value) co_return Failed(admin.failure);
      if (asked.run() == 0) {
        spdlog::info("control: uid {} pid {}: {}{} of the store at {}", caller.uid, caller.pid,
                     asked.collect() ? "collection" : "check", asked.repair() ? " and repair" : "",
                     asked.gateway().address());
      }
      const StoreCheckQuery query{asked.run(),         asked.damages_seen(), asked.cancel(),
                                  asked.collect(),     asked.workspace(),    asked.repair(),
                                  asked.skip_content()};
      const auto state = co_await (*admin.value)->CheckStore(query);
      if (!state.value) co_return Failed(state.failure);
      ToWire(*state.value, response.mutable_store_check());
      co_return response;
    }
    default:
      co_return Failed({FailureKind::kUsage, "this broker does not know the request", ""});
  }
}

}  // namespace airstore::broker
