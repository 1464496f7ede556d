// SPDX-License-Identifier: Apache-2.0
#include "broker/session_manifest.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "broker/durable_file.h"
#include "shm/base/fd.h"

namespace airstore::broker {
namespace {

constexpr int kVersion = 1;
constexpr off_t kMostBytes = 64 << 10;

bool ParseId(const std::string& hex, shm::SessionId* id) {
  if (hex.size() != 2 * id->size() ||
      hex.find_first_not_of("0123456789abcdef") != std::string::npos) {
    return false;
  }
  for (size_t i = 0; i < id->size(); ++i) {
    (*id)[i] = static_cast<uint8_t>(std::stoul(hex.substr(2 * i, 2), nullptr, 16));
  }
  return true;
}

}  // namespace

std::string HexOf(const shm::SessionId& id) {
  std::string text;
  for (uint8_t byte : id) {
    constexpr char kDigits[] = "0123456789abcdef";
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

std::string BootId() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id;
}

std::string JournalDirectory(const std::string& spool) { return spool + "/journal"; }

std::string ContentDirectory(const std::string& spool, const std::string& store_dir,
                             const shm::SessionId& id) {
  return store_dir.empty() ? spool + "/content" : store_dir + "/" + HexOf(id);
}

Result<void> WriteManifest(const std::string& spool, const SessionManifest& manifest) {
  nlohmann::json json = {
      {"version", kVersion},
      {"gateway", manifest.gateway},
      {"workspace_id", manifest.workspace_id},
      {"workspace", manifest.workspace},
      {"token", manifest.token.text()},
      {"principal", manifest.principal},
      {"session_id", HexOf(manifest.session)},
      {"read_only", manifest.read_only},
      {"store_dir", manifest.store_dir},
      {"boot_id", manifest.boot_id},
      {"protocol", manifest.protocol},
      {"virtual", manifest.services.virtual_nodes},
      {"compression", manifest.services.compression},
      {"access_session", manifest.services.access_session},
      {"access_log", manifest.services.access_log},
  };
  std::string text = json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  const WipeAtEnd wipe(text);
  Wipe(json["token"].get_ref<std::string&>());
  return WriteDurably(spool, kSessionManifestFile, text);
}

Result<SessionManifest> ReadManifest(const std::string& spool) {
  const std::string path = spool + "/" + kSessionManifestFile;
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file) return SysError("open " + path);
  struct stat info {};
  if (fstat(file.get(), &info) != 0) return SysError("stat " + path);
  if (!S_ISREG(info.st_mode) || info.st_uid != geteuid() || (info.st_mode & 077) != 0 ||
      info.st_size > kMostBytes) {
    return Error{EPROTO, path + " could be somebody else's"};
  }
  std::string text(static_cast<size_t>(info.st_size), '\0');
  const WipeAtEnd wipe(text);
  if (read(file.get(), text.data(), text.size()) != info.st_size) return SysError("read " + path);

  nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  SessionManifest manifest;
  const Error senseless{EPROTO, path + " makes no sense"};
  try {
    if (json.at("version") != kVersion || !ParseId(json.at("session_id"), &manifest.session)) {
      return senseless;
    }
    manifest.gateway = json.at("gateway");
    manifest.workspace_id = json.at("workspace_id");
    manifest.workspace = json.at("workspace");
    std::string& token = json.at("token").get_ref<std::string&>();
    manifest.token = token;
    Wipe(token);
    manifest.principal = json.at("principal");
    manifest.read_only = json.at("read_only");
    manifest.store_dir = json.at("store_dir");
    manifest.boot_id = json.value("boot_id", "");
    manifest.protocol = json.value("protocol", "");
    // An older broker had none.
    manifest.services.virtual_nodes = json.value("virtual", "off");
    manifest.services.compression = json.value("compression", "off");
    manifest.services.access_session = json.value("access_session", "");
    manifest.services.access_log = json.value("access_log", false);
  } catch (const nlohmann::json::exception&) {
    return senseless;
  }
  return manifest;
}

void RemoveSessionSpool(const std::string& spool) {
  std::error_code failed;
  const std::string ended = spool + kEndedSuffix;
  std::filesystem::rename(spool, ended, failed);
  std::filesystem::remove_all(failed ? spool : ended, failed);
}

}  // namespace airstore::broker
