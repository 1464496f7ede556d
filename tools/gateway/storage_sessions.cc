// SPDX-License-Identifier: Apache-2.0
//
// StorageService: sessions, leases, locks, watching.

#include <algorithm>

#include "broker/log_event.h"
#include "tools/gateway/storage_service.h"
#include "tools/gateway/watch_stream.h"

namespace airstore::gateway {
namespace {

constexpr uint32_t kProtocolRevision = 1;
constexpr size_t kMaxClientText = 256;

// For logs and listings: printable, and not a novel.
std::string Printable(std::string_view text) {
  std::string clean(text.substr(0, kMaxClientText));
  for (char& c : clean) {
    if (c < ' ' || c > '~') c = '?';
  }
  return clean;
}

void SetLimits(const Sessions& sessions, wire::Limits* limits) {
  limits->set_block_bytes(kBlockBytes);
  limits->set_max_fetch_bytes(kMaxFetchBytes);
  limits->set_max_inline_bytes(kMaxInlineBytes);
  limits->set_max_batch_mutations(kMaxBatchMutations);
  limits->set_max_batch_bytes(kMaxBatchBytes);
  limits->set_max_file_bytes(kMaxFileBytes);
  limits->set_session_seconds(static_cast<uint32_t>(sessions.lifetime().count()));
}

void SetServices(const Offer& offer, wire::Services* out) {
  out->set_tools(offer.tools);
  out->set_sources(offer.sources);
  out->set_tasks(offer.tasks);
  out->set_access_log(offer.access_log);
}

}  // namespace

StorageService::StorageService(Gateway& gateway)
    : gateway_(gateway), readers_(8), fetchers_(8), writers_(8), blockless_(4) {}

void StorageService::SetLease(const LeaseRecord& lease, wire::Lease* out) const {
  out->set_id(lease.id);
  out->set_inode(lease.inode);
  out->set_seconds(static_cast<uint32_t>(gateway_.sessions().lifetime().count()));
}

grpc::Status StorageService::FindWorkspace(const Caller& caller, const std::string& name_or_id,
                                           Workspace* workspace) {
  struct Rows {
    std::optional<Workspace> asked;
    bool own = false;  // the token's is there
  };
  auto rows = UntilNoConflict([&]() -> Result<Rows> {
    auto reader = gateway_.store().Read();
    if (!reader) return reader.error();
    Rows read;
    read.asked = name_or_id.empty() ? (*reader)->GetWorkspace(caller.workspace)
                                    : (*reader)->FindWorkspace(name_or_id);
    read.own = (read.asked && read.asked->key == caller.workspace) ||
               (!caller.admin && (*reader)->GetWorkspace(caller.workspace));
    AIRSTORE_TRY((*reader)->status());
    return read;
  });
  // Whoever hears NOT_FOUND gives up what it has not sent.
  if (!rows) return StoreStatus("open session", rows.error());
  std::optional<Workspace>& found = rows->asked;
  if (!caller.admin && !rows->own) {
    return {grpc::StatusCode::NOT_FOUND, "the workspace does not exist any more"};
  }
  // A token learns nothing about other workspaces, not even whether they exist.
  if (!caller.admin && (!found || found->key != caller.workspace)) {
    return {grpc::StatusCode::PERMISSION_DENIED, "the token is not for this workspace"};
  }
  if (!found && name_or_id.empty()) {
    return {grpc::StatusCode::INVALID_ARGUMENT, "the admin token needs a workspace's name"};
  }
  if (!found) return {grpc::StatusCode::NOT_FOUND, "no such workspace"};
  *workspace = std::move(*found);
  return grpc::Status::OK;
}

grpc::Status StorageService::StartSession(const Caller& caller, const Workspace& workspace,
                                          const wire::OpenSessionRequest& request,
                                          SessionRecord* session,
                                          wire::OpenSessionResponse* response) {
  const SessionId id = SessionId::From(request.session_id());
  grpc::Status refused;
  const auto done = UntilNoConflict([&]() -> Result<void> {
    auto writer = gateway_.store().Write();
    if (!writer) return writer.error();
    MetadataWriter& txn = **writer;
    *session = {};
    session->id = id;
    const auto known = txn.GetSession(id);
    response->set_resumed(known.has_value());
    if (known) {
      if (known->workspace != workspace.key || known->principal != caller.principal) {
        refused = {grpc::StatusCode::PERMISSION_DENIED, "the session belongs to another token"};
        return {};
      }
      *session = *known;
    }
    session->workspace = workspace.key;
    session->principal = caller.principal;
    session->client = Printable(request.client());
    session->seen_ns = WallClockNs();
    txn.PutSession(*session);
    // A new one has nothing cached; one that comes back has what it had registered, or nothing.
    if (!known) txn.PutInterest({workspace.key, id, kRootInode});
    // Before anything that the session is told: nothing is between it and what it sees then.
    const auto cursor = gateway_.bulletin().Cursor(workspace.key);
    if (!cursor) return cursor.error();
    response->set_watch_cursor(*cursor);
    const auto root = txn.GetInode(workspace.key, kRootInode);
    const auto now = txn.GetWorkspace(workspace.key);
    AIRSTORE_TRY(txn.status());
    if (!root || !now || now->next_inode > INT64_MAX - kInodesPerGrant) {
      refused = {grpc::StatusCode::NOT_FOUND, "no such workspace"};
      return {};
    }
    txn.SetNextInode(workspace.key, now->next_inode + kInodesPerGrant);
    AIRSTORE_TRY(txn.Commit());
    response->set_last_applied_sequence(session->last_sequence);
    ToWire(*root, response->mutable_root());
    response->mutable_inodes()->set_first(now->next_inode);
    response->mutable_inodes()->set_count(kInodesPerGrant);
    return {};
  });
  if (!done) return StoreStatus("open session", done.error());
  return refused;
}

grpc::Status StorageService::DoOpenSession(const Context& context,
                                           const wire::OpenSessionRequest& request,
                                           wire::OpenSessionResponse* response) {
  Caller caller;
  if (auto status = Authenticate(gateway_, context, &caller); !status.ok()) return status;
  if (request.session_id().size() != 16 || request.protocol_revision() == 0) {
    return {grpc::StatusCode::INVALID_ARGUMENT, "needs a session_id of 16 bytes and a revision"};
  }
  Workspace workspace;
  if (auto status = FindWorkspace(caller, request.workspace(), &workspace); !status.ok()) {
    return status;
  }
  SessionRecord session;
  if (auto status = StartSession(caller, workspace, request, &session, response); !status.ok()) {
    return status;
  }
  if (auto done = gateway_.sessions().Remember(session); !done) {
    return StoreStatus("open session", done.error());
  }
  if (request.want_write_lease()) {
    auto acquired = gateway_.sessions().Acquire(session, kRootInode, !caller.read_only);
    if (!acquired) return StoreStatus("acquire lease", acquired.error());
    if (acquired->lease) SetLease(*acquired->lease, response->mutable_lease());
  }
  response->set_workspace_id(workspace.id);
  response->set_workspace_name(workspace.name);
  SetLimits(gateway_.sessions(), response->mutable_limits());
  response->set_read_only(caller.read_only);
  response->set_protocol_revision(std::min(request.protocol_revision(), kProtocolRevision));
  response->set_principal(caller.principal);
  if (const auto offer = gateway_.OfferFor(workspace)) {
    SetServices(*offer, response->mutable_services());
  }
  broker::LogEvent(
      spdlog::level::info,
      {{"workspace", workspace.name}, {"principal", caller.principal}, {"client", session.client}},
      "session {} on {} by {} ({})", response->resumed() ? "resumed" : "opened", workspace.name,
      caller.principal, session.client);
  return grpc::Status::OK;
}

StorageService::Reactor* StorageService::OpenSession(Context* context,
                                                     const wire::OpenSessionRequest* request,
                                                     wire::OpenSessionResponse* response) {
  return RunOn(writers_, context,
               [=, this] { return DoOpenSession(*context, *request, response); });
}

StorageService::Reactor* StorageService::CloseSession(Context* context,
                                                      const wire::CloseSessionRequest* request,
                                                      wire::CloseSessionResponse*) {
  return RunOn(writers_, context, [=, this]() -> grpc::Status {
    Access access;
    if (auto status = Admit(gateway_, *context, request->session_id(), &access); !status.ok()) {
      return status;
    }
    const auto closed = gateway_.CloseSession(access.session);
    if (!closed) return StoreStatus("close session", closed.error());
    // Closed through another gateway, of which this one has not heard yet.
    return *closed ? grpc::Status::OK : UnknownSession();
  });
}

StorageService::Reactor* StorageService::KeepAlive(Context* context,
                                                   const wire::KeepAliveRequest* request,
                                                   wire::KeepAliveResponse* response) {
  return RunOn(blockless_, context, [=, this]() -> grpc::Status {
    Access access;
    if (auto status = Admit(gateway_, *context, request->session_id(), &access); !status.ok()) {
      return status;
    }
    // Whoever has been away for too long comes back with what it has cached: then nobody may keep
    // changes to himself any more.
    const auto standing = gateway_.sessions().Enter(access.session);
    if (!standing) return StoreStatus("keep alive", standing.error());
    const auto leases = gateway_.sessions().LeasesOf(access.session);
    if (!leases) return StoreStatus("keep alive", leases.error());
    for (const LeaseRecord& lease : *leases) {
      if (lease.inode == kRootInode) SetLease(lease, response->mutable_lease());
    }
    response->set_session_seconds(static_cast<uint32_t>(gateway_.sessions().lifetime().count()));
    auto reader = gateway_.store().Read();
    if (!reader) return StoreStatus("keep alive", reader.error());
    const auto workspace = (*reader)->GetWorkspace(access.session.workspace);
    const auto offer = workspace ? gateway_.OfferFor(*workspace) : std::nullopt;
    if (offer) SetServices(*offer, response->mutable_services());
    return grpc::Status::OK;
  });
}

StorageService::Reactor* StorageService::AllocateInodes(Context* context,
                                                        const wire::AllocateInodesRequest* request,
                                                        wire::AllocateInodesResponse* response) {
  return RunOn(writers_, context, [=, this]() -> grpc::Status {
    Access access;
    if (auto status = Admit(gateway_, *context, request->session_id(), &access); !status.ok()) {
      return status;
    }
    const uint64_t wish = request->count() == 0 ? kInodesPerGrant : request->count();
    const uint64_t count = std::min(wish, kMaxInodesPerGrant);
    const auto first = gateway_.GrantInodes(access.session.workspace, count);
    if (!first) return StoreStatus("allocate inodes", first.error());
    response->mutable_inodes()->set_first(*first);
    response->mutable_inodes()->set_count(count);
    return grpc::Status::OK;
  });
}

grpc::ServerWriteReactor<wire::WatchEvent>* StorageService::Watch(
    Context* context, const wire::WatchRequest* request) {
  // Short reads of the store only: no need to leave this thread.
  Access access;
  if (auto status = Admit(gateway_, *context, request->session_id(), &access); !status.ok()) {
    return new RefusedWatch(status);
  }
  // As in KeepAlive.
  const auto whole = gateway_.sessions().BeginWatch(access.session);
  if (!whole) return new RefusedWatch(StoreStatus("watch", whole.error()));
  const auto in_time =
      gateway_.bulletin().Begin(access.session.workspace, access.session.id, request->cursor());
  if (!in_time) return new RefusedWatch(StoreStatus("watch", in_time.error()));
  // From before all there ever was: a gap.
  return WatchStream::Start(gateway_.bulletin().hub(), access,
                            *whole && *in_time ? request->cursor() : 0);
}

StorageService::Reactor* StorageService::AckWatch(Context* context,
                                                  const wire::AckWatchRequest* request,
                                                  wire::AckWatchResponse*) {
  // As Watch: and those who wait for it should not wait for a pool too.
  Access access;
  grpc::Status status = Admit(gateway_, *context, request->session_id(), &access);
  if (status.ok()) {
    auto done = gateway_.bulletin().Acknowledge(access.session.workspace, access.session.id,
                                                request->cursor());
    if (!done) status = StoreStatus("acknowledge", done.error());
  }
  Reactor* reactor = context->DefaultReactor();
  reactor->Finish(status);
  return reactor;
}

StorageService::Reactor* StorageService::AcquireLease(Context* context,
                                                      const wire::AcquireLeaseRequest* request,
                                                      wire::AcquireLeaseResponse* response) {
  return RunOn(writers_, context, [=, this]() -> grpc::Status {
    Access access;
    if (auto status = Admit(gateway_, *context, request->session_id(), &access); !status.ok()) {
      return status;
    }
    if (request->inode() == 0) return {grpc::StatusCode::INVALID_ARGUMENT, "inode 0"};
    auto acquired =
        gateway_.sessions().Acquire(access.session, request->inode(), !access.caller.read_only);
    if (!acquired) return StoreStatus("acquire lease", acquired.error());
    if (acquired->lease) SetLease(*acquired->lease, response->mutable_lease());
    response->set_held_by_other(acquired->held_by_other);
    if (!acquired->lease) return grpc::Status::OK;
    // Nobody else commits anything there from the grant on.
    const auto mark = gateway_.bulletin().Mark(access.session.workspace, access.session.id);
    if (!mark) return StoreStatus("acquire lease", mark.error());
    response->set_watch_cursor(*mark);
    return grpc::Status::OK;
  });
}

StorageService::Reactor* StorageService::ReleaseLease(Context* context,
                                                      const wire::ReleaseLeaseRequest* request,
                                                      wire::ReleaseLeaseResponse*) {
  return RunOn(writers_, context, [=, this]() -> grpc::Status {
    Access access;
    if (auto status = Admit(gateway_, *context, request->session_id(), &access); !status.ok()) {
      return status;
    }
    auto done = gateway_.sessions().Release(access.session, request->lease_id());
    if (!done) return StoreStatus("release lease", done.error());
    return grpc::Status::OK;
  });
}

StorageService::Reactor* StorageService::ForgetZone(Context* context,
                                                    const wire::ForgetZoneRequest* request,
                                                    wire::ForgetZoneResponse*) {
  return RunOn(writers_, context, [=, this]() -> grpc::Status {
    Access access;
    if (auto status = Admit(gateway_, *context, request->session_id(), &access); !status.ok()) {
      return status;
    }
    if (request->zone() <= kRootInode) return {grpc::StatusCode::INVALID_ARGUMENT, "no zone"};
    auto done = gateway_.sessions().Unregister(access.session, request->zone());
    return done ? grpc::Status::OK : StoreStatus("forget zone", done.error());
  });
}

namespace {

bool IsPossible(const wire::LockRequest& request) {
  return request.owner().size() <= 64 && (request.flock() || request.start() <= request.end()) &&
         wire::LockType_IsValid(request.type());
}

}  // namespace

grpc::Status StorageService::DoLock(const Context& context, const wire::LockRequest& request,
                                    wire::LockResponse* response) {
  Access access;
  std::set<InodeNo> zones;
  if (auto status = AdmitToData(context, request.session_id(), &access, &zones); !status.ok()) {
    return status;
  }
  const SessionRecord& session = access.session;
  if (request.cancel_wait()) {
    auto done = gateway_.locks().CancelWait(session.workspace, session.id, request.wait());
    return done ? grpc::Status::OK : StoreStatus("lock", done.error());
  }
  if (!IsPossible(request)) {
    response->set_error(EINVAL);
    return grpc::Status::OK;
  }
  std::optional<LockSpec> conflict;
  const auto answer =
      gateway_.locks().Set(session.workspace, FromWire(request, session.id), &conflict);
  if (!answer) return StoreStatus("lock", answer.error());
  switch (*answer) {
    case LockAnswer::kDone:
      break;
    case LockAnswer::kHeld:
      response->set_error(EAGAIN);
      break;
    case LockAnswer::kDeadlock:
      response->set_error(EDEADLK);
      break;
    case LockAnswer::kFull:
      response->set_error(ENOLCK);
      break;
    case LockAnswer::kUnknown:
      response->set_assert_first(true);
      break;
    case LockAnswer::kGrace:
      return {grpc::StatusCode::ABORTED,
              "the gateway was restarted: waiting for hosts to say what they have locked"};
  }
  if (conflict) {
    ToWire(*conflict, response->mutable_conflict());
    response->mutable_conflict()->set_inode(request.inode());
    response->mutable_conflict()->set_flock(request.flock());
    // A number of another host's process says nothing here.
    if (!(conflict->owner.session == session.id)) response->mutable_conflict()->clear_pid();
  }
  return grpc::Status::OK;
}

StorageService::Reactor* StorageService::Lock(Context* context, const wire::LockRequest* request,
                                              wire::LockResponse* response) {
  return RunOn(blockless_, context, [=, this] { return DoLock(*context, *request, response); });
}

StorageService::Reactor* StorageService::AssertLocks(Context* context,
                                                     const wire::AssertLocksRequest* request,
                                                     wire::AssertLocksResponse* response) {
  return RunOn(blockless_, context, [=, this]() -> grpc::Status {
    Access access;
    std::set<InodeNo> zones;
    if (auto status = AdmitToData(*context, request->session_id(), &access, &zones); !status.ok()) {
      return status;
    }
    std::vector<LockWish> held;
    held.reserve(static_cast<size_t>(request->locks_size()));
    for (const wire::LockRequest& lock : request->locks()) {
      if (!IsPossible(lock)) return {grpc::StatusCode::INVALID_ARGUMENT, "a lock makes no sense"};
      held.push_back(FromWire(lock, access.session.id));
    }
    std::vector<LockWish> lost;
    const auto in_time =
        gateway_.locks().Assert(access.session.workspace, access.session.id, held, &lost);
    if (!in_time) return StoreStatus("assert locks", in_time.error());
    response->set_lapsed(!*in_time);
    for (const LockWish& wish : lost) {
      wire::LockRequest* out = response->add_lost();
      ToWire(wish.lock, out);
      out->set_inode(wish.ino);
      out->set_flock(wish.flock);
      out->set_owner(wish.lock.owner.owner);
    }
    return grpc::Status::OK;
  });
}

StorageService::Reactor* StorageService::StatFs(Context* context,
                                                const wire::StatFsRequest* request,
                                                wire::StatFsResponse* response) {
  return RunOn(blockless_, context, [=, this]() -> grpc::Status {
    Access access;
    if (auto status = Admit(gateway_, *context, request->session_id(), &access); !status.ok()) {
      return status;
    }
    auto reader = gateway_.store().Read();
    if (!reader) return StoreStatus("statfs", reader.error());
    const auto workspace = (*reader)->GetWorkspace(access.session.workspace);
    if (auto status = (*reader)->status(); !status) return StoreStatus("statfs", status.error());
    const Capacity capacity = gateway_.capacity();
    const uint64_t used_inodes = workspace ? workspace->inodes : 0;
    constexpr uint64_t kFreeInodes = 1ull << 32;  // numbers do not run out; tools want to see some
    const uint64_t used_bytes = workspace ? workspace->used_bytes : 0;
    const uint64_t quota_bytes = workspace ? workspace->quota_bytes : 0;
    const uint64_t quota_inodes = workspace ? workspace->quota_inodes : 0;
    uint64_t free_bytes = capacity.free_bytes;
    if (quota_bytes != 0) {
      free_bytes = std::min(free_bytes, quota_bytes - std::min(quota_bytes, used_bytes));
    }
    uint64_t free_inodes = kFreeInodes;
    if (quota_inodes != 0) {
      free_inodes = std::min(free_inodes, quota_inodes - std::min(quota_inodes, used_inodes));
    }
    // What tools call used is the difference.
    response->set_total_bytes(free_bytes + used_bytes);
    response->set_free_bytes(free_bytes);
    response->set_total_inodes(free_inodes + used_inodes);
    response->set_free_inodes(free_inodes);
    response->set_quota_bytes(quota_bytes);
    response->set_quota_inodes(quota_inodes);
    return grpc::Status::OK;
  });
}

}  // namespace airstore::gateway
