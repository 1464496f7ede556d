// SPDX-License-Identifier: Apache-2.0
//
// One Watch call: a stream that pulls from the hub whenever the one before is written, so that a
// slow client costs nothing but its place in the ring.
//
// Threads: woken from whoever publishes, called back from gRPC's threads.
// Ownership: keeps itself alive until OnDone(); the hub shares it until it is removed there.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <mutex>

#include "airstore/storage/v2/storage.grpc.pb.h"
#include "tools/gateway/call.h"
#include "tools/gateway/convert.h"

namespace airstore::gateway {

class WatchStream final : public grpc::ServerWriteReactor<wire::WatchEvent>,
                          public WatchHub::Listener {
 public:
  static WatchStream* Start(WatchHub& hub, const Access& access, uint64_t cursor);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  void Wake() override;
  void End(WatchEnd why) override;
  bool BelongsTo(WorkspaceKey ws, const SessionId* session,
                 const std::string* token_id) const override;

 private:
  WatchStream(WatchHub& hub, const Access& access, uint64_t cursor);
  void Pump();                           // REQUIRES: mu_
  void FinishOnce(grpc::Status status);  // REQUIRES: mu_

  WatchHub& hub_;
  const WorkspaceKey workspace_;
  const SessionId session_;
  const std::string token_id_;
  std::shared_ptr<WatchStream> self_;
  std::mutex mu_;
  // Guarded by mu_.
  uint64_t cursor_;
  bool writing_ = false;
  bool finished_ = false;
  bool ending_ = false;  // finish when the write under way is done
  grpc::Status final_status_;
  wire::WatchEvent event_;  // while writing_, gRPC reads it
};

// A stream that ends at once.
class RefusedWatch final : public grpc::ServerWriteReactor<wire::WatchEvent> {
 public:
  explicit RefusedWatch(const grpc::Status& status) { Finish(status); }
  void OnDone() override { delete this; }
};

}  // namespace airstore::gateway
