// SPDX-License-Identifier: Apache-2.0
#include "broker/lost_found.h"

#include <string.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "broker/durable_file.h"
#include "broker/state_dir.h"

namespace airstore::broker {

LostFound::LostFound(std::string root, std::string name, std::string workspace, std::string gateway)
    : directory_(std::move(root) + "/lost+found/" + std::move(name)),
      workspace_(std::move(workspace)),
      gateway_(std::move(gateway)) {}

Result<void> LostFound::Keep(LostItem item, const std::string& content) {
  AIRSTORE_TRY(MakeDirectories(directory_, 0700));
  if (!content.empty()) {
    item.file = "inode-" + std::to_string(item.inode);
    const std::string to = directory_ + "/" + item.file;
    std::error_code failed;
    std::filesystem::rename(content, to, failed);
    if (failed == std::errc::cross_device_link) {
      failed.clear();
      std::filesystem::copy_file(content, to, std::filesystem::copy_options::overwrite_existing,
                                 failed);
      if (!failed) std::filesystem::remove(content, failed);
    }
    if (failed) return SysError("keep " + content + " as " + to, failed.value());
  }
  items_.push_back(std::move(item));
  return WriteItems();
}

Result<void> LostFound::WriteItems() {
  nlohmann::json items = nlohmann::json::array();
  for (const LostItem& item : items_) {
    items.push_back({{"what", item.what},
                     {"path", item.path},
                     {"inode", item.inode},
                     {"errno", item.error},
                     {"error", strerror(item.error)},
                     {"size", item.size},
                     {"file", item.file}});
  }
  const nlohmann::json all = {
      {"version", 1}, {"workspace", workspace_}, {"gateway", gateway_}, {"items", items}};
  return WriteDurably(directory_, "manifest.json",
                      all.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

}  // namespace airstore::broker
