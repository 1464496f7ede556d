// SPDX-License-Identifier: Apache-2.0
//
// Failures of the store, kept apart from what is refused: a refusal is an answer, with which its
// caller gives up; a call that the store failed has none, and is made again.
//
// Threads: pure functions.
#pragma once

#include "tools/gateway/metadata_store.h"

namespace airstore::gateway::v1 {

// Beyond every errno.
inline constexpr int kOfStore = 1 << 16;

// A conflict stays what it is, for UntilNoConflict().
inline Error OfStore(const Error& error) {
  if (error.code == kStoreConflict || error.code >= kOfStore) return error;
  return Error{kOfStore + error.code, error.message};
}
inline Result<void> OfStore(const Result<void>& done) {
  if (done) return {};
  return OfStore(done.error());
}

inline bool IsOfStore(const Error& error) {
  return error.code >= kOfStore || error.code == kStoreConflict;
}
// As the store has told it.
inline Error Told(const Error& error) {
  return Error{error.code >= kOfStore ? error.code - kOfStore : error.code, error.message};
}

}  // namespace airstore::gateway::v1
