// SPDX-License-Identifier: Apache-2.0
//
// NfsExportNames: what clients of an NFS export must know, and what its handles are sealed with.
//
// The same user who serves the same workspace under the same name again gets the same ones, also
// after the broker, the frontends, or the host went down: a client that waits finds its server and
// its files again. They are made of a secret in the state directory, so nobody guesses them, and
// nothing is kept for the exports that ever were.
// Threads: any.
#pragma once

#include <cstdint>
#include <string>

#include "shm/base/result.h"
#include "shm/base/siphash.h"

namespace airstore::broker {

struct NfsExportNames {
  std::string path;   // that clients mount; not to be guessed
  std::string key;    // 32 hexadecimal digits
  uint16_t port = 0;  // to be had if it is free; 0: any
};

// What makes it the same export.
struct NfsExportIdentity {
  uint32_t owner_uid = 0;
  std::string gateway;
  std::string workspace_id;
  std::string name;  // the mount point
};

// Of the state directory; makes it at the first time. EPROTO: what is there makes no sense.
Result<SipKey> ReadExportSecret(const std::string& state_dir);

NfsExportNames NamesOf(const NfsExportIdentity& identity, const SipKey& secret);

}  // namespace airstore::broker
