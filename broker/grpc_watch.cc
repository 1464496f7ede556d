// SPDX-License-Identifier: Apache-2.0
#include "broker/grpc_watch.h"

#include "broker/grpc_status.h"
#include "broker/grpc_stream.h"
#include "broker/wire_decode.h"

namespace airstore::broker {
namespace {

namespace wire = storage::v2;

using Stream = GrpcStream<wire::WatchRequest, wire::WatchEvent, WatchEvent>;

// So many events wait here for the loop; then the gateway waits.
constexpr size_t kMostWaiting = 256;

class GrpcWatch final : public WatchStream {
 public:
  GrpcWatch(const CallContext& via, wire::WatchRequest request, Stream::Rules rules)
      : stream_(via, std::move(request), std::move(rules)) {}

  Task<Result<WatchEvent>> Next() override { return stream_.Next(); }
  void Cancel() override { stream_.Cancel(); }

 private:
  Stream stream_;
};

}  // namespace

std::unique_ptr<WatchStream> StartWatch(const CallContext& via,
                                        std::shared_ptr<wire::Storage::Stub> stub,
                                        const std::string& session_id, uint64_t cursor) {
  wire::WatchRequest request;
  request.set_session_id(session_id);
  request.set_cursor(cursor);
  Stream::Rules rules;
  rules.most_waiting = kMostWaiting;
  rules.decode = [](wire::WatchEvent& event) { return DecodeEvent(event); };
  rules.ended = [](const grpc::Status& status) {
    return status.ok() ? Error{EAGAIN, "watch: the gateway ended it"}
                       : ErrorOfStatus("watch", status);
  };
  rules.start = [stub = std::move(stub)](grpc::ClientContext* context,
                                         const wire::WatchRequest* from, auto* reactor) {
    stub->async()->Watch(context, from, reactor);
  };
  return std::make_unique<GrpcWatch>(via, std::move(request), std::move(rules));
}

}  // namespace airstore::broker
