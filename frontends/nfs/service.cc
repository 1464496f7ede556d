// SPDX-License-Identifier: Apache-2.0
#include "frontends/nfs/service.h"

#include <charconv>
#include <cstring>
#include <fstream>

namespace airstore::nfs {
namespace {

// Before the process may open nothing any more.
std::string BootId() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  file >> id;
  return id;
}

bool ParseKey(std::string_view hex, SipKey* key) {
  if (hex.size() != key->size() * 2) return false;
  for (size_t i = 0; i < key->size(); ++i) {
    const char* at = hex.data() + 2 * i;
    if (std::from_chars(at, at + 2, (*key)[i], 16).ptr != at + 2) return false;
  }
  return true;
}

bool ParseNumber(std::string_view text, uint32_t* number) {
  const char* end = text.data() + text.size();
  return std::from_chars(text.data(), end, *number).ptr == end && !text.empty();
}

void PutWord(char (&to)[8], uint64_t word) { memcpy(to, &word, sizeof(word)); }

}  // namespace

Result<ExportOptions> ParseExportOptions(std::string_view text) {
  ExportOptions out;
  bool good = true;
  bool has_key = false;
  while (!text.empty() && good) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const size_t equals = std::min(line.find('='), line.size());
    const std::string_view key = line.substr(0, equals);
    const std::string_view value = line.substr(std::min(equals + 1, line.size()));
    if (key == "path") out.path = value;
    if (key == "key") good = has_key = ParseKey(value, &out.key);
    if (key == "uid") good = ParseNumber(value, &out.owner_uid);
    if (key == "gid") good = ParseNumber(value, &out.owner_gid);
    if (key == "anonymous_uid") good = ParseNumber(value, &out.anonymous_uid);
    if (key == "anonymous_gid") good = ParseNumber(value, &out.anonymous_gid);
    if (key == "mount_auth") {
      out.mount_without_credentials = value == "none";
      good = out.mount_without_credentials;
    }
    if (key == "squash") {
      out.squash_root = value == "root";
      out.squash_all = value == "all";
      good = out.squash_root || out.squash_all;
    }
  }
  if (!good || !has_key || out.path.empty() || out.path.front() != '/') {
    return Error{EPROTO, "the broker's description of the export makes no sense"};
  }
  return out;
}

Service::Service(volume::Volume* served, ExportOptions with)
    : volume(*served),
      options(std::move(with)),
      handles(options.key),
      fsid(SipHash({}, options.key)),
      writers(served),
      listings(served, options.key) {
  const auto& session = served->options().session;
  const std::string boot = BootId();
  SipKey by{};
  std::copy(session.begin(), session.end(), by.begin());
  const std::span boot_bytes(reinterpret_cast<const uint8_t*>(boot.data()), boot.size());
  PutWord(write_verifier, SipHash(by, boot_bytes));
  PutWord(cookie_verifier, fsid);
}

}  // namespace airstore::nfs
