// SPDX-License-Identifier: Apache-2.0
#include "broker/metrics_address.h"

#include <sys/un.h>

#include <charconv>

namespace airstore::broker {

Result<MetricsAddress> ParseMetricsAddress(const std::string& text) {
  const Error wrong{EINVAL,
                    "metrics: expected unix:/path or a port of this host, such as "
                    "127.0.0.1:9464, found \"" +
                        text + "\""};
  MetricsAddress address;
  if (text.rfind("unix:", 0) == 0) {
    address.path = text.substr(5);
    const bool fits = address.path.size() < sizeof(sockaddr_un::sun_path);
    if (!fits || address.path.empty() || address.path.front() != '/') return wrong;
    return address;
  }
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) return wrong;
  const std::string host = text.substr(0, colon);
  address.v6 = host == "[::1]";
  if (!address.v6 && host != "127.0.0.1" && host != "localhost") return wrong;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data() + colon + 1, end, address.port);
  if (parsed.ec != std::errc() || parsed.ptr != end) return wrong;
  return address;
}

}  // namespace airstore::broker
