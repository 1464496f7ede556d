// SPDX-License-Identifier: Apache-2.0
#include "tests/e2e/support/metrics.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <stdexcept>

#include "shm/base/fd.h"
#include "tests/e2e/support/files.h"

namespace airstore::e2e {

std::string Scrape(const Host& host) { return ScrapeAt(host.Status().at("broker").at("metrics")); }

std::string GatewayMetricsAddress(const Host& host) {
  const std::string log = ReadFile(host.Path("gateway.log"));
  const std::string said = "metrics are served at ";
  const size_t at = log.find(said);
  if (at == log.npos) throw std::runtime_error("the gateway serves no metrics");
  const size_t begin = at + said.size();
  return log.substr(begin, log.find_first_of(" \n", begin) - begin);
}

std::string ScrapeAt(const std::string& address) {
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  name.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  const UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) != 0) {
    throw std::runtime_error("nobody listens at " + address);
  }
  const std::string request = "GET /metrics HTTP/1.0\r\n\r\n";
  send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL);
  std::string answer;
  char piece[4096];
  for (ssize_t got = 0; (got = recv(fd.get(), piece, sizeof piece, 0)) > 0;) {
    answer.append(piece, static_cast<size_t>(got));
  }
  const size_t body = answer.find("\r\n\r\n");
  if (answer.find(" 200 ") > 20 || body == std::string::npos) {
    throw std::runtime_error("metrics: " + answer);
  }
  return answer.substr(body + 4);
}

}  // namespace airstore::e2e
