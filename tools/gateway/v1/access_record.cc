// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/v1/access_record.h"

#include "broker/log_event.h"

namespace airstore::gateway::v1 {

bool IsRecorded(const Context& context) {
  return context.client_metadata().contains("x-airstore-session") &&
         Header(context, "x-airstore-access-origin") != "fuse";
}

void RecordRead(Gateway& gateway, const Context& context, const std::string& workspace_id,
                SteadyTime begun, AccessEvent event) {
  if (!IsRecorded(context)) return;
  std::string id = workspace_id;
  if (id.empty()) {
    std::optional<Caller> caller;
    if (!Identify(gateway, context, &caller).ok()) return;
    const auto workspace = WorkspaceOf(gateway, caller);
    if (!workspace) return;
    id = workspace->id;
  }
  event.origin = Header(context, "x-airstore-access-origin");
  if (event.origin.empty()) event.origin = "api";
  event.session = Header(context, "x-airstore-session");
  event.cache_source = "backend_rpc";
  event.ts_ms = WallClockNs() / 1'000'000;
  event.latency_ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(SteadyNow() - begun).count();
  std::vector<AccessEvent> one(1, std::move(event));
  if (auto added = gateway.access_log().Add(id, std::move(one)); !added) {
    broker::LogEvent(spdlog::level::warn, {{"error", added.error().ToString()}}, "{}",
                     added.error().ToString());
  }
}

}  // namespace airstore::gateway::v1
