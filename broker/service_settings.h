// SPDX-License-Identifier: Apache-2.0
//
// ServiceSettings: how a session uses what its gateway offers beside storage. All mounts of a
// session have the same: their tables are one.
// Threads: plain values.
#pragma once

#include <string>

namespace airstore::broker {

struct ServiceSettings {
  // auto: names are shown that the gateway has something for and storage has not; on: all of them,
  // in front of storage's; off: none.
  std::string virtual_nodes = "auto";
  std::string compression = "off";  // of what sources say: off, strip, distill, chain
  std::string access_session;       // id under which reads are recorded; empty: the workspace's
  bool access_log = true;           // whether reads are recorded

  bool operator==(const ServiceSettings&) const = default;
};

}  // namespace airstore::broker
