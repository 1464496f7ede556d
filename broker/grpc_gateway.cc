// SPDX-License-Identifier: Apache-2.0
#include "broker/grpc_gateway.h"

#include <airstore/storage/v2/storage.grpc.pb.h>
#include <unistd.h>
#include <xxhash.h>

#include <atomic>

#include "broker/grpc_call.h"
#include "broker/grpc_services.h"
#include "broker/grpc_status.h"
#include "broker/grpc_watch.h"
#include "broker/wire_decode.h"
#include "broker/wire_encode.h"

namespace airstore::broker {
namespace {

namespace wire = storage::v2;

std::string ClientName() {
  char host[256] = {};
  if (gethostname(host, sizeof host - 1) != 0) host[0] = '\0';
  return std::string(host) + " airstored/" AIRSTORE_VERSION;
}

// A header with other bytes than these would fail in gRPC, with a message that helps nobody.
bool IsPossibleToken(const std::string& token) {
  if (token.empty() || token.size() > 8192) return false;
  for (const char c : token) {
    if (c <= ' ' || c > '~') return false;
  }
  return true;
}

class GrpcGateway final : public Gateway {
 public:
  GrpcGateway(const boost::asio::any_io_executor& loop, std::shared_ptr<GatewayChannel> channel,
              Secret token, const GrpcGatewayOptions& options)
      : via_{loop, channel, std::move(token), options.call_timeout}, stub_(channel) {}

  Task<Result<OpenedSession>> Open(const std::string& workspace,
                                   const std::array<uint8_t, 16>& session_id,
                                   bool want_write_lease) override;
  Task<Result<void>> Close() override;
  Task<Result<uint64_t>> KeepAlive() override;
  Task<Result<AcquiredLease>> AcquireLease(uint64_t inode) override;
  Task<Result<void>> ReleaseLease(uint64_t lease_id) override;
  Task<Result<void>> ForgetZone(uint64_t zone) override;
  std::unique_ptr<WatchStream> Watch(uint64_t cursor) override;
  Task<Result<void>> AckWatch(uint64_t cursor) override;
  Task<Result<std::pair<uint64_t, uint64_t>>> AllocateInodes(uint64_t count) override;
  Task<Result<std::vector<ResolveResult>>> Resolve(std::vector<ResolveItem> items) override;
  Task<Result<Fetched>> Fetch(uint64_t inode, uint64_t offset, uint64_t length) override;
  Task<Result<void>> PutBlock(const BlockId& id, std::string data) override;
  Task<Result<std::vector<MutationResult>>> Apply(
      std::shared_ptr<const std::vector<Mutation>> batch, std::vector<uint64_t> leases) override;
  Task<Result<LockVerdict>> Lock(LockCall call, LockAsk ask) override;
  Task<Result<void>> CancelLock(uint64_t wait) override;
  Task<Result<AssertedLocks>> AssertLocks(std::vector<LockCall> held) override;
  Task<Result<StatFs>> Statfs() override;

  std::shared_ptr<GatewayServices> services() override {
    if (!services_) services_ = MakeGrpcServices(via_);
    return services_;
  }
  std::optional<OfferedServices> offered() const override { return offered_; }
  void Reconnect() override { via_.channel->Reconnect(); }
  const GatewayCounters& counters() const override { return counters_; }
  void SetToken(Secret token) override {
    via_.token = std::move(token);
    if (services_) services_->SetToken(via_.token);
    refused_->store(false, std::memory_order_relaxed);
  }
  std::string state() const override {
    if (gone_) return "gone";
    const std::string channel = via_.channel->State();
    const bool refused = refused_->load(std::memory_order_relaxed);
    return refused && channel == "connected" ? "refused" : channel;
  }

 private:
  template <typename Request>
  Request NewRequest() const {
    Request request;
    request.set_session_id(session_id_);
    return request;
  }

  // Makes a call of the stub's `method`; `decode(request, response)` sees successful answers only.
  template <typename Response, typename Request, typename Method, typename Decode>
  auto Call(const char* name, Request request, Method method, Decode decode,
            std::chrono::milliseconds timeout = std::chrono::milliseconds::max()) {
    ++counters_.calls;
    using Answer = std::invoke_result_t<Decode, Request&, Response&>;
    auto start = [stub = stub_.Current(), method](
                     grpc::ClientContext* context, const Request* from, Response* to,
                     std::function<void(const grpc::Status&)> on_done) {
      (stub->async()->*method)(context, from, to, std::move(on_done));
    };
    auto finish = [name, decode, refused = refused_](const grpc::Status& status, Request& from,
                                                     Response& to) -> Answer {
      if (status.ok()) refused->store(false, std::memory_order_relaxed);
      if (status.error_code() == grpc::StatusCode::UNAUTHENTICATED) {
        refused->store(true, std::memory_order_relaxed);
      }
      if (!status.ok()) {
        Error error = ErrorOfStatus(name, status);
        // Of all calls a batch alone may be what another one waits for itself.
        if (std::is_same_v<Request, wire::ApplyRequest> &&
            status.error_code() == grpc::StatusCode::ABORTED) {
          error.code = EBUSY;
        }
        return error;
      }
      return decode(from, to);
    };
    CallContext via = via_;
    via.timeout = std::min(via.timeout, timeout);
    return UnaryCall<Request, Response>(std::move(via), std::move(request), std::move(start),
                                        std::move(finish));
  }

  CallContext via_;
  const Stubs<wire::Storage> stub_;
  std::string session_id_;
  std::chrono::seconds session_life_{60};
  std::optional<OfferedServices> offered_;
  bool gone_ = false;  // the workspace, when the session was opened last
  GatewayCounters counters_;
  std::shared_ptr<GatewayServices> services_;  // made when first wanted
  // The last answer was that the token is not valid. Written by gRPC's threads.
  std::shared_ptr<std::atomic<bool>> refused_ = std::make_shared<std::atomic<bool>>(false);
};

// Picks the overload with a callback, not the one with a reactor.
template <typename Request, typename Response>
using Method = void (wire::Storage::StubInterface::async_interface::*)(
    grpc::ClientContext*, const Request*, Response*, std::function<void(grpc::Status)>);
using AsyncApi = wire::Storage::StubInterface::async_interface;

uint64_t ContentBytes(const std::vector<ResolveResult>& results) {
  uint64_t total = 0;
  for (const ResolveResult& result : results) {
    total += result.entry.content.size();
    for (const DirEntry& entry : result.entries) total += entry.content.size();
  }
  return total;
}

Task<Result<OpenedSession>> GrpcGateway::Open(const std::string& workspace,
                                              const std::array<uint8_t, 16>& session_id,
                                              bool want_write_lease) {
  if (!IsPossibleToken(via_.token)) {
    co_return Error{EACCES, "the token is empty or has characters that no token has"};
  }
  session_id_.assign(reinterpret_cast<const char*>(session_id.data()), session_id.size());
  auto request = NewRequest<wire::OpenSessionRequest>();
  request.set_workspace(workspace);
  request.set_client(ClientName());
  request.set_want_write_lease(want_write_lease);
  request.set_protocol_revision(1);
  constexpr Method<wire::OpenSessionRequest, wire::OpenSessionResponse> kMethod =
      &AsyncApi::OpenSession;
  auto opened = co_await Call<wire::OpenSessionResponse>(
      "open session", std::move(request), kMethod,
      [](auto&, wire::OpenSessionResponse& answer) { return DecodeOpen(answer); });
  gone_ = !opened && opened.error().code == ENOENT;
  if (opened) {
    offered_ = opened->services;
    session_life_ = std::chrono::seconds(opened->limits.session_seconds);
  }
  co_return opened;
}

Task<Result<void>> GrpcGateway::Close() {
  constexpr Method<wire::CloseSessionRequest, wire::CloseSessionResponse> kMethod =
      &AsyncApi::CloseSession;
  co_return co_await Call<wire::CloseSessionResponse>(
      "close session", NewRequest<wire::CloseSessionRequest>(), kMethod,
      [](auto&, auto&) { return Result<void>(); });
}

Task<Result<uint64_t>> GrpcGateway::KeepAlive() {
  constexpr Method<wire::KeepAliveRequest, wire::KeepAliveResponse> kMethod = &AsyncApi::KeepAlive;
  // One that hangs leaves time for others while the session lives.
  const std::chrono::milliseconds timeout =
      std::max(std::chrono::milliseconds(1000), std::chrono::milliseconds(session_life_) / 6);
  auto alive = co_await Call<wire::KeepAliveResponse>(
      "keep alive", NewRequest<wire::KeepAliveRequest>(), kMethod, DecodeKeepAlive, timeout);
  if (!alive) co_return alive.error();
  offered_ = alive->services;
  co_return alive->lease_id;
}

Task<Result<AcquiredLease>> GrpcGateway::AcquireLease(uint64_t inode) {
  auto request = NewRequest<wire::AcquireLeaseRequest>();
  request.set_inode(inode);
  constexpr Method<wire::AcquireLeaseRequest, wire::AcquireLeaseResponse> kMethod =
      &AsyncApi::AcquireLease;
  co_return co_await Call<wire::AcquireLeaseResponse>(
      "acquire lease", std::move(request), kMethod,
      [](auto&, wire::AcquireLeaseResponse& answer) { return DecodeLease(answer); });
}

Task<Result<void>> GrpcGateway::ReleaseLease(uint64_t lease_id) {
  auto request = NewRequest<wire::ReleaseLeaseRequest>();
  request.set_lease_id(lease_id);
  constexpr Method<wire::ReleaseLeaseRequest, wire::ReleaseLeaseResponse> kMethod =
      &AsyncApi::ReleaseLease;
  co_return co_await Call<wire::ReleaseLeaseResponse>("release lease", std::move(request), kMethod,
                                                      [](auto&, auto&) { return Result<void>(); });
}

Task<Result<void>> GrpcGateway::ForgetZone(uint64_t zone) {
  auto request = NewRequest<wire::ForgetZoneRequest>();
  request.set_zone(zone);
  constexpr Method<wire::ForgetZoneRequest, wire::ForgetZoneResponse> kMethod =
      &AsyncApi::ForgetZone;
  co_return co_await Call<wire::ForgetZoneResponse>("forget zone", std::move(request), kMethod,
                                                    [](auto&, auto&) { return Result<void>(); });
}

std::unique_ptr<WatchStream> GrpcGateway::Watch(uint64_t cursor) {
  ++counters_.calls;
  return StartWatch(via_, stub_.Current(), session_id_, cursor);
}

Task<Result<void>> GrpcGateway::AckWatch(uint64_t cursor) {
  auto request = NewRequest<wire::AckWatchRequest>();
  request.set_cursor(cursor);
  constexpr Method<wire::AckWatchRequest, wire::AckWatchResponse> kMethod = &AsyncApi::AckWatch;
  co_return co_await Call<wire::AckWatchResponse>("acknowledge events", std::move(request), kMethod,
                                                  [](auto&, auto&) { return Result<void>(); });
}

Task<Result<std::pair<uint64_t, uint64_t>>> GrpcGateway::AllocateInodes(uint64_t count) {
  auto request = NewRequest<wire::AllocateInodesRequest>();
  request.set_count(count);
  constexpr Method<wire::AllocateInodesRequest, wire::AllocateInodesResponse> kMethod =
      &AsyncApi::AllocateInodes;
  co_return co_await Call<wire::AllocateInodesResponse>(
      "allocate inodes", std::move(request), kMethod,
      [](auto&, wire::AllocateInodesResponse& answer) { return DecodeRange(answer.inodes()); });
}

Task<Result<std::vector<ResolveResult>>> GrpcGateway::Resolve(std::vector<ResolveItem> items) {
  auto request = NewRequest<wire::ResolveRequest>();
  for (ResolveItem& item : items) EncodeItem(std::move(item), request.add_items());
  constexpr Method<wire::ResolveRequest, wire::ResolveResponse> kMethod = &AsyncApi::Resolve;
  auto results =
      co_await Call<wire::ResolveResponse>("resolve", std::move(request), kMethod, DecodeResolve);
  if (results) counters_.fetched_bytes += ContentBytes(*results);
  co_return results;
}

Task<Result<Fetched>> GrpcGateway::Fetch(uint64_t inode, uint64_t offset, uint64_t length) {
  auto request = NewRequest<wire::FetchRequest>();
  request.set_inode(inode);
  wire::Range* range = request.add_ranges();
  range->set_offset(offset);
  range->set_length(length);
  // Within a host, compressing costs more than it saves.
  if (!via_.channel->on_host()) request.add_accept(wire::COMPRESSION_ZSTD);
  constexpr Method<wire::FetchRequest, wire::FetchResponse> kMethod = &AsyncApi::Fetch;
  auto fetched =
      co_await Call<wire::FetchResponse>("fetch", std::move(request), kMethod, DecodeFetch);
  if (fetched) {
    for (const FetchedRange& item : fetched->ranges) counters_.fetched_bytes += item.data.size();
  }
  co_return fetched;
}

Task<Result<void>> GrpcGateway::PutBlock(const BlockId& id, std::string data) {
  if (gone_) co_return Error{ENOENT, "put block: the workspace is gone"};
  auto request = NewRequest<wire::PutBlockRequest>();
  const uint64_t length = data.size();
  request.set_block_id(id.bytes.data(), id.bytes.size());
  request.set_length(length);
  request.set_xxh3(XXH3_64bits(data.data(), data.size()));
  request.set_data(std::move(data));
  constexpr Method<wire::PutBlockRequest, wire::PutBlockResponse> kMethod = &AsyncApi::PutBlock;
  auto done = co_await Call<wire::PutBlockResponse>("put block", std::move(request), kMethod,
                                                    [](auto&, auto&) { return Result<void>(); });
  if (done) counters_.uploaded_bytes += length;
  co_return done;
}

Task<Result<std::vector<MutationResult>>> GrpcGateway::Apply(
    std::shared_ptr<const std::vector<Mutation>> batch, std::vector<uint64_t> leases) {
  auto request = NewRequest<wire::ApplyRequest>();
  for (const uint64_t lease : leases) {
    request.lease_id() == 0 ? request.set_lease_id(lease) : request.add_more_lease_ids(lease);
  }
  for (const Mutation& mutation : *batch) EncodeMutation(mutation, request.add_mutations());
  constexpr Method<wire::ApplyRequest, wire::ApplyResponse> kMethod = &AsyncApi::Apply;
  auto results =
      co_await Call<wire::ApplyResponse>("apply", std::move(request), kMethod, DecodeApply);
  if (results) counters_.uploaded_bytes += InlineBytes(*batch);
  co_return results;
}

Task<Result<LockVerdict>> GrpcGateway::Lock(LockCall call, LockAsk ask) {
  auto request = NewRequest<wire::LockRequest>();
  EncodeLock(call, &request);
  request.set_wait(ask.wait);
  request.set_process(ask.process);
  request.set_test_only(ask.test);
  constexpr Method<wire::LockRequest, wire::LockResponse> kMethod = &AsyncApi::Lock;
  co_return co_await Call<wire::LockResponse>(
      "lock", std::move(request), kMethod,
      [](auto&, wire::LockResponse& answer) { return DecodeLock(answer); });
}

Task<Result<void>> GrpcGateway::CancelLock(uint64_t wait) {
  auto request = NewRequest<wire::LockRequest>();
  request.set_wait(wait);
  request.set_cancel_wait(true);
  constexpr Method<wire::LockRequest, wire::LockResponse> kMethod = &AsyncApi::Lock;
  co_return co_await Call<wire::LockResponse>("lock", std::move(request), kMethod,
                                              [](auto&, auto&) { return Result<void>(); });
}

Task<Result<AssertedLocks>> GrpcGateway::AssertLocks(std::vector<LockCall> held) {
  auto request = NewRequest<wire::AssertLocksRequest>();
  for (const LockCall& call : held) EncodeLock(call, request.add_locks());
  constexpr Method<wire::AssertLocksRequest, wire::AssertLocksResponse> kMethod =
      &AsyncApi::AssertLocks;
  return Call<wire::AssertLocksResponse>("assert locks", std::move(request), kMethod,
                                         DecodeAssertedLocks);
}

Task<Result<StatFs>> GrpcGateway::Statfs() {
  constexpr Method<wire::StatFsRequest, wire::StatFsResponse> kMethod = &AsyncApi::StatFs;
  co_return co_await Call<wire::StatFsResponse>(
      "statfs", NewRequest<wire::StatFsRequest>(), kMethod,
      [](auto&, wire::StatFsResponse& answer) { return DecodeStatfs(answer); });
}

}  // namespace

std::shared_ptr<Gateway> MakeGrpcGateway(const boost::asio::any_io_executor& loop,
                                         std::shared_ptr<GatewayChannel> channel, Secret token,
                                         const GrpcGatewayOptions& options) {
  return std::make_shared<GrpcGateway>(loop, std::move(channel), std::move(token), options);
}

}  // namespace airstore::broker
