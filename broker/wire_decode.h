// SPDX-License-Identifier: Apache-2.0
//
// Answers of a gateway into the broker's types. A gateway is not trusted: names, attributes, counts
// and ranges are checked, and what makes no sense is EPROTO.
//
// Threads: any; these run on gRPC's threads. Pure functions but for a rate-limited log line.
#pragma once

#include <airstore/storage/v2/storage.pb.h>

#include <optional>
#include <vector>

#include "broker/gateway.h"

namespace airstore::broker {

// A file name as POSIX has it: 1 to 255 bytes, no '/', no NUL, neither "." nor "..".
bool IsPlausibleName(const std::string& name);

Result<Attr> DecodeAttr(const storage::v2::Attr& wire);
Result<OpenedSession> DecodeOpen(const storage::v2::OpenSessionResponse& wire);
struct AliveSession {
  uint64_t lease_id = 0;
  std::optional<OfferedServices> services;
};
Result<AliveSession> DecodeKeepAlive(const storage::v2::KeepAliveRequest& asked,
                                     const storage::v2::KeepAliveResponse& wire);
Result<std::pair<uint64_t, uint64_t>> DecodeRange(const storage::v2::InodeRange& wire);
// An item that makes no sense has the error EPROTO, the others stand.
Result<std::vector<ResolveResult>> DecodeResolve(const storage::v2::ResolveRequest& asked,
                                                 storage::v2::ResolveResponse& wire);
// Uncompressed and verified; the ranges follow each other without a gap from the offset asked for.
Result<Fetched> DecodeFetch(const storage::v2::FetchRequest& asked,
                            storage::v2::FetchResponse& wire);
Result<std::vector<MutationResult>> DecodeApply(const storage::v2::ApplyRequest& asked,
                                                const storage::v2::ApplyResponse& wire);
Result<AcquiredLease> DecodeLease(const storage::v2::AcquireLeaseResponse& wire);
Result<WatchEvent> DecodeEvent(storage::v2::WatchEvent& wire);
Result<StatFs> DecodeStatfs(const storage::v2::StatFsResponse& wire);

Result<LockVerdict> DecodeLock(const storage::v2::LockResponse& from);
Result<AssertedLocks> DecodeAssertedLocks(storage::v2::AssertLocksRequest& asked,
                                          storage::v2::AssertLocksResponse& from);

}  // namespace airstore::broker
