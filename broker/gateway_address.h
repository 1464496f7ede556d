// SPDX-License-Identifier: Apache-2.0
//
// Addresses of gateways as people write them.
// Threads: plain values.
#pragma once

#include <string>
#include <vector>

#include "shm/base/result.h"

namespace airstore::broker {

struct GatewayAddress {
  std::string target;    // as gRPC wants it: host:port, [v6]:port or unix:/path
  bool on_host = false;  // loopback or a unix socket: never leaves this host
  enum class Tls { kByPlace, kAlways, kNever } tls = Tls::kByPlace;
};

// host:port, [v6]:port, unix:/path; https:// before it asks for TLS also on loopback, http:// for
// none. EINVAL says what is wrong.
Result<GatewayAddress> ParseGatewayAddress(const std::string& text);

// What is between the commas.
std::vector<std::string> SplitGatewayAddresses(const std::string& text);

// One or several, with commas between them: gateways that serve the same store.
Result<std::vector<GatewayAddress>> ParseGatewayAddresses(const std::string& text);

// What original clients do with an address that asks for nothing: no TLS to this host, to private
// addresses and to names of clusters and local networks; TLS to all else, link-local addresses and
// bare names included. The port is not looked at.
bool IsPlainInV1(const std::string& address);

}  // namespace airstore::broker
