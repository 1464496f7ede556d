// SPDX-License-Identifier: Apache-2.0
//
// airstore.storage.v2.Storage: checks the call, translates, and lets the gateway do it.
//
// Threads: gRPC's callbacks only hand over to three pools. Mutations (which wait for disks and for
// each other) have their own, so that they never keep reads waiting; so have signs of life, locks,
// and what else never needs a block, so that a slow block store costs nobody a lease.
// Ownership: borrows the gateway; must be destroyed (pools drained) after the server's shutdown.
#pragma once

#include <set>

#include "airstore/storage/v2/storage.grpc.pb.h"
#include "tools/gateway/call.h"
#include "tools/gateway/convert.h"

namespace airstore::gateway {

class StorageService final : public wire::Storage::CallbackService {
 public:
  explicit StorageService(Gateway& gateway);

  using Context = grpc::CallbackServerContext;
  using Reactor = grpc::ServerUnaryReactor;
  Reactor* OpenSession(Context*, const wire::OpenSessionRequest*,
                       wire::OpenSessionResponse*) override;
  Reactor* CloseSession(Context*, const wire::CloseSessionRequest*,
                        wire::CloseSessionResponse*) override;
  Reactor* KeepAlive(Context*, const wire::KeepAliveRequest*, wire::KeepAliveResponse*) override;
  Reactor* AllocateInodes(Context*, const wire::AllocateInodesRequest*,
                          wire::AllocateInodesResponse*) override;
  Reactor* Resolve(Context*, const wire::ResolveRequest*, wire::ResolveResponse*) override;
  Reactor* Fetch(Context*, const wire::FetchRequest*, wire::FetchResponse*) override;
  Reactor* PutBlock(Context*, const wire::PutBlockRequest*, wire::PutBlockResponse*) override;
  Reactor* Apply(Context*, const wire::ApplyRequest*, wire::ApplyResponse*) override;
  grpc::ServerWriteReactor<wire::WatchEvent>* Watch(Context*, const wire::WatchRequest*) override;
  Reactor* AckWatch(Context*, const wire::AckWatchRequest*, wire::AckWatchResponse*) override;
  Reactor* AcquireLease(Context*, const wire::AcquireLeaseRequest*,
                        wire::AcquireLeaseResponse*) override;
  Reactor* ReleaseLease(Context*, const wire::ReleaseLeaseRequest*,
                        wire::ReleaseLeaseResponse*) override;
  Reactor* ForgetZone(Context*, const wire::ForgetZoneRequest*, wire::ForgetZoneResponse*) override;
  Reactor* Lock(Context*, const wire::LockRequest*, wire::LockResponse*) override;
  Reactor* AssertLocks(Context*, const wire::AssertLocksRequest*,
                       wire::AssertLocksResponse*) override;
  Reactor* StatFs(Context*, const wire::StatFsRequest*, wire::StatFsResponse*) override;

 private:
  // sessions (storage_sessions.cc)
  grpc::Status DoOpenSession(const Context&, const wire::OpenSessionRequest&,
                             wire::OpenSessionResponse*);
  grpc::Status FindWorkspace(const Caller&, const std::string& name_or_id, Workspace*);
  grpc::Status StartSession(const Caller&, const Workspace&, const wire::OpenSessionRequest&,
                            SessionRecord*, wire::OpenSessionResponse*);
  grpc::Status DoLock(const Context&, const wire::LockRequest&, wire::LockResponse*);
  void SetLease(const LeaseRecord& lease, wire::Lease* out) const;

  // data (storage_service.cc)
  grpc::Status DoResolve(const Context&, const wire::ResolveRequest&, wire::ResolveResponse*);
  grpc::Status DoFetch(const Context&, const wire::FetchRequest&, wire::FetchResponse*);
  grpc::Status DoPutBlock(const Context&, const wire::PutBlockRequest&);
  // What others are to have seen before the call is answered.
  struct Published {
    WorkspaceKey workspace = 0;
    SessionId by;
    Told told;  // cursor 0: nothing
  };
  grpc::Status DoApply(const Context&, const wire::ApplyRequest&, wire::ApplyResponse*,
                       Published* published);
  // Admit, and refuse while another session holds the lease of all: what it has changed is not here
  // yet. `zones`: those that the session has registered.
  grpc::Status AdmitToData(const Context&, std::string_view session_id, Access*,
                           std::set<InodeNo>* zones);
  // Registers those of `touched` that are not in `zones`, and adds them: what was read there is to
  // be read again. `again`: there were some.
  grpc::Status RegisterZones(const Access&, const std::set<InodeNo>& touched,
                             std::set<InodeNo>* zones, bool* again);

  Gateway& gateway_;
  WorkerPool readers_;  // of metadata, which never wait for content that is far away
  WorkerPool fetchers_;
  WorkerPool writers_;
  WorkerPool blockless_;
};

}  // namespace airstore::gateway
