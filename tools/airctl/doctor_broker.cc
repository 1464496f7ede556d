// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/doctor_broker.h"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <set>
#include <sstream>

#include "shm/base/fd.h"
#include "tools/airctl/format.h"

namespace airstore::airctl {
namespace {

namespace wire = control::v1;

constexpr int kConnectMs = 3000;
constexpr uint64_t kLeastFree = 512ull << 20;
constexpr long kTmpfs = 0x01021994;

// 0, or an errno.
int Connect(int family, const sockaddr* address, socklen_t length) {
  const UniqueFd fd(socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return errno;
  if (connect(fd.get(), address, length) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  pollfd wait{fd.get(), POLLOUT, 0};
  if (poll(&wait, 1, kConnectMs) != 1) return ETIMEDOUT;
  int code = 0;
  socklen_t size = sizeof code;
  getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &code, &size);
  return code;
}

std::vector<std::string> AddressesIn(const std::string& list) {
  std::vector<std::string> all;
  std::istringstream parts(list);
  for (std::string one; std::getline(parts, one, ',');) {
    if (!one.empty()) all.push_back(one);
  }
  return all;
}

Finding Gateway(const std::string& address, const std::string& trouble) {
  const std::string what = "gateway " + address;
  if (trouble.empty()) return {what, true, "it can be connected to", ""};
  return {what, false, trouble,
          "correct gateway = ... in airstored.toml (an airstore-gateway of this host: "
          "\"127.0.0.1:7070\"); or on its host: systemctl restart airstore-gateway"};
}

}  // namespace

Finding LookAtGateway(const std::string& address) {
  std::string rest = address;
  for (const char* scheme : {"https://", "http://"}) {
    if (rest.rfind(scheme, 0) == 0) rest = rest.substr(strlen(scheme));
  }
  if (rest.rfind("unix:", 0) == 0) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    const std::string path = rest.substr(5);
    if (path.size() >= sizeof name.sun_path) return Gateway(address, "its path is too long");
    memcpy(name.sun_path, path.c_str(), path.size() + 1);
    const int code = Connect(AF_UNIX, reinterpret_cast<const sockaddr*>(&name), sizeof name);
    return Gateway(address, code == 0 ? "" : strerror(code));
  }
  const size_t colon = rest.rfind(':');
  std::string host = rest.substr(0, colon);
  const std::string port = colon == std::string::npos ? "443" : rest.substr(colon + 1);
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int failed = getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, freeaddrinfo);
  if (failed != 0) return Gateway(address, std::string("its name: ") + gai_strerror(failed));
  int code = EHOSTUNREACH;
  for (const addrinfo* one = found; one != nullptr && code != 0; one = one->ai_next) {
    code = Connect(one->ai_family, one->ai_addr, one->ai_addrlen);
  }
  return Gateway(address, code == 0 ? "" : strerror(code));
}

std::vector<Finding> LookAtStateDirectory(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) {
    if (errno == EACCES) return {};
    return {{"state directory", false, path + ": " + strerror(errno),
             "systemctl restart airstored, which makes it"}};
  }
  std::vector<Finding> out;
  const std::string spool = path + "/spool";
  struct stat below {};
  const bool seen = stat(spool.c_str(), &below) == 0;
  if (seen && (below.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    out.push_back(
        {"state directory", false, "other users may look into " + spool, "chmod 700 " + spool});
  } else {
    out.push_back({"state directory", true, path + " is its owner's alone", ""});
  }
  struct statvfs disk {};
  if (statvfs(path.c_str(), &disk) != 0) return out;
  const uint64_t free = static_cast<uint64_t>(disk.f_bavail) * disk.f_frsize;
  const std::string says = HumanBytes(free) + " are free for " + path;
  if (free < kLeastFree) {
    out.push_back(
        {"spool space", false, says,
         "make room on that disk: du -xsh " + path + "/* ; or set state_dir or store_dir"});
  } else {
    out.push_back({"spool space", true, says, ""});
  }
  struct statfs kind {};
  if (statfs(path.c_str(), &kind) == 0 && kind.f_type == kTmpfs) {
    out.push_back({"spool disk", false, path + " is in memory: unsent changes end with the power",
                   "set state_dir to a directory on a disk", false});
  }
  return out;
}

std::vector<Finding> LookAtBroker(const wire::StatusResponse& status) {
  const wire::BrokerInfo& broker = status.broker();
  std::vector<Finding> out;
  out.push_back(
      {"broker", true,
       "airstored " + broker.version() + " answers (pid " + std::to_string(broker.pid()) + ")",
       ""});
  if (broker.version() != AIRSTORE_VERSION) {
    out.push_back({"versions", false,
                   "airctl is " AIRSTORE_VERSION ", airstored is " + broker.version(),
                   "airctl upgrade", false});
  }
  for (Finding& finding : LookAtStateDirectory(broker.state_dir())) {
    out.push_back(std::move(finding));
  }
  std::string told;
  std::set<std::string> used;
  for (const wire::Problem& problem : status.problems()) {
    out.push_back({problem.cause(), false,
                   (problem.subject().empty() ? "" : problem.subject() + ": ") + problem.says(),
                   problem.mend()});
    told += problem.subject() + "\n";
  }
  for (const wire::SessionInfo& session : status.sessions()) {
    used.insert(session.gateway());
    for (const std::string& one : AddressesIn(session.gateway())) used.insert(one);
    if (session.state() == "connected" && told.find(session.gateway() + "\n") == told.npos) {
      told += session.gateway() + "\n";
      out.push_back({"gateway " + session.gateway(), true, "it answers", ""});
    }
  }
  // Of one that mounts use the broker knows more; what none uses need not be there.
  for (const std::string& one : AddressesIn(broker.gateway())) {
    if (used.contains(one) || used.contains(broker.gateway())) continue;
    out.push_back(LookAtGateway(one));
    out.back().matters = false;
  }
  return out;
}

Finding BrokerMissing(const std::string& socket, const Failure& failure) {
  // Where it was stopped on purpose there is no socket.
  return {"broker", false, failure.message, failure.advice, access(socket.c_str(), F_OK) == 0};
}

}  // namespace airstore::airctl
