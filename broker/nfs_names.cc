// SPDX-License-Identifier: Apache-2.0
#include "broker/nfs_names.h"

#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <span>
#include <string_view>

#include "broker/durable_file.h"
#include "shm/base/fd.h"

namespace airstore::broker {
namespace {

constexpr char kSecretFile[] = "nfs.secret";
// Below those that the kernel gives to connections by itself.
constexpr uint16_t kFirstPort = 20'000;
constexpr uint16_t kPorts = 12'000;

uint64_t HashOf(const NfsExportIdentity& identity, const SipKey& secret, std::string_view purpose) {
  std::string text(purpose);
  for (const std::string& part : {std::to_string(identity.owner_uid), identity.gateway,
                                  identity.workspace_id, identity.name}) {
    text += '\0';
    text += part;
  }
  return SipHash(secret, {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

std::string HexOf(const NfsExportIdentity& identity, const SipKey& secret,
                  const std::string& purpose) {
  char digits[33];
  snprintf(digits, sizeof(digits), "%016" PRIx64 "%016" PRIx64,
           HashOf(identity, secret, purpose + "1"), HashOf(identity, secret, purpose + "2"));
  return digits;
}

}  // namespace

Result<SipKey> ReadExportSecret(const std::string& state_dir) {
  const std::string path = state_dir + "/" + kSecretFile;
  SipKey secret;
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (file) {
    if (read(file.get(), secret.data(), secret.size()) == static_cast<ssize_t>(secret.size())) {
      return secret;
    }
    return Error{EPROTO, path + " is damaged: remove it; NFS clients must then mount anew"};
  }
  if (errno != ENOENT) return SysError("open " + path);
  AIRSTORE_CHECK(getrandom(secret.data(), secret.size(), 0) == static_cast<ssize_t>(secret.size()));
  const std::string bytes(secret.begin(), secret.end());
  AIRSTORE_TRY(WriteDurably(state_dir, kSecretFile, bytes));
  return secret;
}

NfsExportNames NamesOf(const NfsExportIdentity& identity, const SipKey& secret) {
  NfsExportNames names;
  names.path = "/airstore-" + HexOf(identity, secret, "path");
  names.key = HexOf(identity, secret, "key");
  names.port = static_cast<uint16_t>(kFirstPort + HashOf(identity, secret, "port") % kPorts);
  return names;
}

}  // namespace airstore::broker
