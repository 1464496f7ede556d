// SPDX-License-Identifier: Apache-2.0
//
// Between wire messages and the gateway's own types. Nothing is judged here (see validate.h), only
// carried over; what an own type cannot hold becomes something that validation refuses.
//
// Threads: pure functions.
// Ownership: mutations borrow their bytes from the request.
#pragma once

#include "airstore/storage/v2/storage.pb.h"
#include "tools/gateway/access_log.h"
#include "tools/gateway/check/damage.h"
#include "tools/gateway/lock_table.h"
#include "tools/gateway/resolver.h"
#include "tools/gateway/types.h"
#include "tools/gateway/watch_hub.h"

namespace airstore::gateway {

namespace wire = ::airstore::storage::v2;

Mutation FromWire(const wire::Mutation& mutation);
LockWish FromWire(const wire::LockRequest& request, const SessionId& session);

void ToWire(const Inode& inode, wire::Attr* attr);
void ToWire(ResolvedEntry entry, wire::DirEntry* out);
void ToWire(Listed listed, wire::Listing* out);
void ToWire(const MutationOutcome& outcome, wire::MutationResult* out);
void ToWire(const HubEvent& event, wire::WatchEvent* out);
void ToWire(const LockSpec& lock, wire::LockRequest* out);
void ToWire(const Workspace& workspace, wire::Workspace* out);
void ToWire(const TokenRecord& token, wire::Token* out);
void ToWire(AccessEvent event, wire::AccessEvent* out);
void ToWire(const CheckState& state, wire::CheckStoreResponse* out);
void ToWire(const Damage& damage, wire::Damage* out);

}  // namespace airstore::gateway
