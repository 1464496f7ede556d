// SPDX-License-Identifier: Apache-2.0
//
// SessionManifest: what a later broker must know to go on with a session: a file in its spool.
// It is the only file that holds the token; it and its directory are for the broker's user alone.
//
// Threads: any.
#pragma once

#include <string>

#include "broker/service_settings.h"
#include "shm/base/result.h"
#include "shm/base/wipe.h"
#include "shm/segment.h"

namespace airstore::broker {

struct SessionManifest {
  std::string gateway;
  std::string workspace_id;
  std::string workspace;
  Secret token;
  std::string principal;
  shm::SessionId session{};
  bool read_only = false;
  std::string store_dir;  // as configured then; empty: content lies in the spool
  // BootId() then. Under another one only what was synced can be relied upon. Empty: not known.
  std::string boot_id;
  std::string protocol;  // by which its gateway is spoken to; empty: not known
  ServiceSettings services = {};
};

inline constexpr char kSessionManifestFile[] = "session.json";

std::string HexOf(const shm::SessionId& id);
// Of the running kernel: another one after each boot. Empty: it cannot be told.
std::string BootId();

// Where the parts of a session lie. `spool`: the session's own directory.
std::string JournalDirectory(const std::string& spool);
std::string ContentDirectory(const std::string& spool, const std::string& store_dir,
                             const shm::SessionId& id);

// As a whole or not at all, on stable storage when it returns.
Result<void> WriteManifest(const std::string& spool, const SessionManifest& manifest);
// ENOENT: there is none. EPROTO: it is not one of ours, or others could have written it.
Result<SessionManifest> ReadManifest(const std::string& spool);

// Removes a session's directory. For who looks at the spool it is gone at once: should we die in
// between, the rest has this behind its name, and holds nothing that is still of use.
inline constexpr char kEndedSuffix[] = ".ended";
void RemoveSessionSpool(const std::string& spool);

}  // namespace airstore::broker
