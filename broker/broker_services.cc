// SPDX-License-Identifier: Apache-2.0
//
// What mounts ask for beside storage. All mounts of a session have the same.
#include "broker/broker.h"

namespace airstore::broker {

ServiceSettings Broker::SettingsFor(const MountSpec& spec) const {
  ServiceSettings settings;
  settings.virtual_nodes = spec.virtual_nodes.empty() ? options_.virtual_nodes : spec.virtual_nodes;
  settings.compression = spec.compression.empty() ? options_.compression : spec.compression;
  settings.access_session = spec.access_session.value_or(options_.access_session);
  settings.access_log = spec.access_log.value_or(options_.access_log);
  return settings;
}

std::string Broker::Disagreement(const MountSpec& spec, const ServiceSettings& session) const {
  if (!spec.virtual_nodes.empty() && spec.virtual_nodes != session.virtual_nodes) {
    return "--virtual " + session.virtual_nodes;
  }
  if (!spec.compression.empty() && spec.compression != session.compression) {
    return "--compression " + session.compression;
  }
  if (spec.access_session && *spec.access_session != session.access_session) {
    return session.access_session.empty() ? "no --session" : "--session " + session.access_session;
  }
  if (spec.access_log && *spec.access_log != session.access_log) {
    return session.access_log ? "--access-log on" : "--access-log off";
  }
  return "";
}

TraceSettings Broker::Tracing() const {
  return ParseTraceSettings(options_.fuse_trace, options_.fuse_trace_interval,
                            options_.fuse_trace_slow_ms);
}

Outcome<TraceAnswer> Broker::Trace(const Caller& caller, const std::string& mountpoint,
                                   uint64_t after, int64_t slow_ns) {
  const MountPtr mount = FindMount(caller, mountpoint);
  if (!mount || !mount->in_service()) {
    return {std::nullopt,
            {FailureKind::kNotFound, mountpoint + " is not a mount of this broker",
             "airctl status lists the mounts"}};
  }
  return {mount->Trace(after, slow_ns), {}};
}

}  // namespace airstore::broker
