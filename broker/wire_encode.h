// SPDX-License-Identifier: Apache-2.0
//
// The broker's requests into protobuf.
// Threads: any; pure functions.
#pragma once

#include <airstore/storage/v2/storage.pb.h>

#include <vector>

#include "broker/gateway.h"

namespace airstore::broker {

void EncodeItem(ResolveItem&& from, storage::v2::ResolveItem* to);
void EncodeMutation(const Mutation& from, storage::v2::Mutation* to);
// Content bytes that a batch carries inline.
uint64_t InlineBytes(const std::vector<Mutation>& batch);

void EncodeLock(const LockCall& call, storage::v2::LockRequest* to);

}  // namespace airstore::broker
