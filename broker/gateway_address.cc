// SPDX-License-Identifier: Apache-2.0
#include "broker/gateway_address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <string_view>

namespace airstore::broker {
namespace {

bool IsLoopback(const std::string& host) {
  if (host == "localhost") return true;
  in_addr v4{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6{};
  return inet_pton(AF_INET6, host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

bool IsPort(std::string_view text) {
  unsigned port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() && port >= 1 && port <= 65535;
}

// "host:port", "[v6]:port", or all of it where that cannot be told apart.
std::string HostOf(const std::string& address) {
  if (!address.empty() && address.front() == '[') {
    const size_t end = address.find(']');
    return end == std::string::npos ? address : address.substr(1, end - 1);
  }
  const size_t colon = address.find(':');
  if (colon == std::string::npos || address.find(':', colon + 1) != std::string::npos) {
    return address;
  }
  return address.substr(0, colon);
}

bool EndsWith(const std::string& text, std::string_view end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

}  // namespace

bool IsPlainInV1(const std::string& address) {
  if (address.rfind("unix:", 0) == 0) return true;
  std::string host = HostOf(address);
  for (char& c : host) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
  if (host == "localhost") return true;
  for (const std::string_view end : {".local", ".localhost", ".svc", ".svc.cluster.local"}) {
    if (EndsWith(host, end)) return true;
  }
  in_addr v4{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) {
    const uint32_t bits = ntohl(v4.s_addr);
    return bits >> 24 == 127 || bits >> 24 == 10 || bits >> 20 == (172 << 4 | 1) ||
           bits >> 16 == (192 << 8 | 168);
  }
  in6_addr v6{};
  if (inet_pton(AF_INET6, host.c_str(), &v6) != 1) return false;
  return IN6_IS_ADDR_LOOPBACK(&v6) || (v6.s6_addr[0] & 0xFE) == 0xFC;
}

Result<GatewayAddress> ParseGatewayAddress(const std::string& text) {
  const Error bad{EINVAL, "\"" + text + "\" is no gateway address: it is host:port or unix:/path"};
  GatewayAddress address;
  std::string rest = text;
  const auto strip = [&rest](std::string_view prefix) {
    if (rest.compare(0, prefix.size(), prefix) != 0) return false;
    rest.erase(0, prefix.size());
    return true;
  };
  if (strip("https://")) {
    address.tls = GatewayAddress::Tls::kAlways;
  } else if (strip("http://")) {
    address.tls = GatewayAddress::Tls::kNever;
  }
  for (const char c : rest) {
    if (c <= ' ' || c == 0x7f) return bad;
  }
  if (rest.rfind("unix:", 0) == 0) {
    std::string path = rest.substr(5);
    if (path.rfind("///", 0) == 0) path.erase(0, 2);
    // sockaddr_un has room for 107 bytes.
    if (path.empty() || path[0] != '/' || path.size() > 107) return bad;
    address.target = "unix:" + path;
    address.on_host = true;
    return address;
  }
  const size_t colon = rest.find_last_of(':');
  if (colon == std::string::npos || colon == 0) return bad;
  std::string host = rest.substr(0, colon);
  if (!IsPort(std::string_view(rest).substr(colon + 1))) return bad;
  if (host.front() == '[') {
    if (host.back() != ']') return bad;
    host = host.substr(1, host.size() - 2);
  } else if (host.find_first_of(":/") != std::string::npos) {
    return bad;
  }
  address.target = rest;
  address.on_host = IsLoopback(host);
  return address;
}

std::vector<std::string> SplitGatewayAddresses(const std::string& text) {
  std::vector<std::string> all;
  for (size_t from = 0; from <= text.size();) {
    const size_t comma = std::min(text.find(',', from), text.size());
    all.push_back(text.substr(from, comma - from));
    from = comma + 1;
  }
  return all;
}

Result<std::vector<GatewayAddress>> ParseGatewayAddresses(const std::string& text) {
  std::vector<GatewayAddress> all;
  for (const std::string& part : SplitGatewayAddresses(text)) {
    auto one = ParseGatewayAddress(part);
    if (!one) return one.error();
    all.push_back(std::move(*one));
  }
  return all;
}

}  // namespace airstore::broker
