// SPDX-License-Identifier: Apache-2.0
//
// Service: what all calls of one export share.
// Threads: any; what changes has its own lock.
#pragma once

#include <string>

#include "frontends/nfs/file_handle.h"
#include "frontends/nfs/nfs3.h"
#include "frontends/nfs/open_writers.h"
#include "frontends/nfs/sorted_listings.h"
#include "frontends/volume/volume.h"

namespace airstore::nfs {

// What the broker has made up for the mount and tells each of its frontends.
struct ExportOptions {
  std::string path;  // what clients mount
  SipKey key{};
  uint32_t owner_uid = 0;  // of the mount
  uint32_t owner_gid = 0;
  bool squash_root = false;  // root is the anonymous user
  bool squash_all = false;   // everybody is
  uint32_t anonymous_uid = 65534;
  uint32_t anonymous_gid = 65534;
  bool mount_without_credentials = false;  // MOUNT answers AUTH_NONE, too
};

// From lines of KEY=VALUE. Fails: EPROTO.
Result<ExportOptions> ParseExportOptions(std::string_view text);

struct Service {
  Service(volume::Volume* served, ExportOptions with);

  volume::Volume& volume;
  const ExportOptions options;
  const FileHandles handles;
  const uint64_t fsid;
  // Changes when bytes may be lost that a WRITE has accepted: with the boot, because they lie in
  // files of this host that nobody has synced, and with the session. The death of any process of
  // ours loses none.
  writeverf3 write_verifier;
  // Cookies are good for as long as the key.
  cookieverf3 cookie_verifier;
  OpenWriters writers;
  SortedListings listings;
};

}  // namespace airstore::nfs
