// SPDX-License-Identifier: Apache-2.0
//
// lost+found, for those whose files are in it.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "broker/broker.h"
#include "shm/base/fd.h"

namespace airstore::broker {
namespace {

constexpr size_t kPieceBytes = 2u << 20;  // well below what one answer may be

bool MayHave(const Caller& caller, const LostEntry& entry) {
  return Governs(caller) ||
         std::find(entry.owners.begin(), entry.owners.end(), caller.uid) != entry.owners.end();
}

}  // namespace

void Broker::CountLost(const std::vector<LostEntry>& entries) {
  uint64_t bytes = 0;
  for (const LostEntry& entry : entries) {
    if (entry.leftover || !entry.item.file.empty()) bytes += entry.item.size;
  }
  lost_space_.Set(bytes);
}

Outcome<LostEntry> Broker::FindLost(const Caller& caller, const std::string& id) const {
  for (LostEntry& entry : ListLost(spool_)) {
    if (entry.item.id == id && MayHave(caller, entry)) return {std::move(entry), {}};
  }
  return {std::nullopt,
          {FailureKind::kNotFound, "there is no item " + id + " in lost+found",
           "'airctl recover' lists what there is"}};
}

Outcome<std::vector<LostFile>> Broker::Lost(const Caller& caller) {
  std::vector<LostFile> items;
  const std::vector<LostEntry> entries = ListLost(spool_);
  CountLost(entries);
  for (const LostEntry& entry : entries) {
    if (!MayHave(caller, entry)) continue;
    const LostItem& item = entry.item;
    const bool content = !item.file.empty();
    items.push_back({item.id, entry.workspace, item.path, item.what, item.inode, item.size,
                     item.error, item.time_ns, content,
                     content ? entry.directory + "/" + item.file : entry.directory});
  }
  return {std::move(items), {}};
}

Outcome<std::string> Broker::ReadLost(const Caller& caller, const std::string& id,
                                      uint64_t offset) {
  const auto found = FindLost(caller, id);
  if (!found.value) return {std::nullopt, found.failure};
  const LostEntry& entry = *found.value;
  if (entry.item.file.empty()) {
    return {std::nullopt,
            {FailureKind::kUsage, "item " + id + " is no file: it says what was refused",
             entry.leftover ? "it lies in " + entry.directory : ""}};
  }
  const std::string path = entry.directory + "/" + entry.item.file;
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  std::string data(kPieceBytes, '\0');
  const ssize_t got = file && offset <= INT64_MAX
                          ? pread(file.get(), data.data(), data.size(), static_cast<off_t>(offset))
                          : -1;
  if (got < 0) {
    return {std::nullopt, {FailureKind::kInternal, SysError("read " + path).ToString(), ""}};
  }
  data.resize(static_cast<size_t>(got));
  return {std::move(data), {}};
}

Outcome<Nothing> Broker::DiscardLost(const Caller& caller, const std::string& id) {
  const auto found = FindLost(caller, id);
  if (!found.value) return {std::nullopt, found.failure};
  if (const auto done = broker::DiscardLost(*found.value); !done) {
    return {std::nullopt, {FailureKind::kInternal, done.error().ToString(), ""}};
  }
  CountLost(ListLost(spool_));
  return {Nothing{}, {}};
}

}  // namespace airstore::broker
