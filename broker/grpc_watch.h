// SPDX-License-Identifier: Apache-2.0
//
// The Watch call as a WatchStream.
//
// Threads: made and used on the event loop; events arrive and are decoded on gRPC's threads.
// Owns: the call, which ends soon after the stream goes.
// Fails: Next() answers how the call ended.
#pragma once

#include <airstore/storage/v2/storage.grpc.pb.h>

#include <memory>
#include <string>

#include "broker/gateway.h"
#include "broker/grpc_call.h"

namespace airstore::broker {

std::unique_ptr<WatchStream> StartWatch(const CallContext& via,
                                        std::shared_ptr<storage::v2::Storage::Stub> stub,
                                        const std::string& session_id, uint64_t cursor);

}  // namespace airstore::broker
