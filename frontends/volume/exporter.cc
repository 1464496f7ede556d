// SPDX-License-Identifier: Apache-2.0
#include "frontends/volume/exporter.h"

#include <sys/socket.h>

#include <string>

#include "frontends/volume/attach.h"
#include "shm/channel.h"
#include "shm/portable.h"

namespace airstore::volume {
namespace {

enum Fds : size_t { kOut, kLane, kArena, kMeta };

Result<void> Export(int channel) {
  auto fds = shm::ReceiveDescriptors(channel);
  if (!fds) return fds.error();
  if (fds->size() != kMeta && fds->size() != kMeta + 1) {
    return Error{EPROTO, std::to_string(fds->size()) + " descriptors came"};
  }
  shm::PortableWriter out((*fds)[kOut].get());
  if (fds->size() > kMeta) AIRSTORE_TRY(shm::ExportTables(std::move((*fds)[kMeta]), &out));
  AIRSTORE_TRY(shm::ExportLane(std::move((*fds)[kLane]), std::move((*fds)[kArena]), &out));
  return out.Finish();
}

}  // namespace

int RunExporter(int channel) {
  const Result<void> exported = Export(channel);
  const std::string answer = exported ? "ok" : exported.error().ToString();
  (void)send(channel, answer.data(), answer.size(), MSG_NOSIGNAL);
  return exported ? kExitUnmounted : kExitFailed;
}

}  // namespace airstore::volume
