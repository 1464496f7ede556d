// SPDX-License-Identifier: Apache-2.0
#include "frontends/volume/exporter.h"

#include <sys/socket.h>

#include <string>

#include "frontends/volume/attach.h"
#include "shm/channel.h"
#include "shm/portable.h"

namespace airstore::volume {
namespace {

// Behind the file to write.
enum TablesFds : size_t { kMeta = 1, kTablesFds };
enum LaneFds : size_t { kLane = 1, kArena, kLaneFds };

Result<void> Export(int channel) {
  auto fds = shm::ReceiveDescriptors(channel);
  if (!fds) return fds.error();
  if (fds->size() != kTablesFds && fds->size() != kLaneFds) {
    return Error{EPROTO, std::to_string(fds->size()) + " descriptors came"};
  }
  shm::PortableWriter out(fds->front().get());
  AIRSTORE_TRY(fds->size() == kTablesFds
                   ? shm::ExportTables(std::move((*fds)[kMeta]), &out)
                   : shm::ExportLane(std::move((*fds)[kLane]), std::move((*fds)[kArena]), &out));
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
