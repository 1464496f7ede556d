// SPDX-License-Identifier: Apache-2.0
#include "broker/service_manager.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <map>
#include <span>

#include "shm/base/descriptor_message.h"

namespace airstore::broker {
namespace {

constexpr int kFirstDescriptor = 3;

struct Manager {
  UniqueFd socket;  // connected
  std::chrono::microseconds watchdog{0};
  std::map<std::string, UniqueFd> kept;
};
Manager& TheManager() {
  static Manager manager;
  return manager;
}

UniqueFd Connect(const char* path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const size_t length = strlen(path);
  if (length == 0 || length >= sizeof(address.sun_path) || (*path != '/' && *path != '@')) {
    return {};
  }
  memcpy(address.sun_path, path, length);
  if (*path == '@') address.sun_path[0] = '\0';
  UniqueFd made(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const auto bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
  if (made && connect(made.get(), reinterpret_cast<const sockaddr*>(&address), bytes) != 0) {
    return {};
  }
  return made;
}

void TakeKept(const char* pid, const char* count, const char* names) {
  if (pid == nullptr || count == nullptr || atoi(pid) != getpid()) return;
  std::string_view left = names == nullptr ? "" : names;
  for (int i = 0; i < atoi(count); ++i) {
    const size_t colon = left.find(':');
    const std::string name(left.substr(0, colon));
    UniqueFd fd(kFirstDescriptor + i);
    if (fcntl(fd.get(), F_SETFD, FD_CLOEXEC) == 0) {
      TheManager().kept[name] = std::move(fd);
    } else {
      (void)fd.release();
    }
    left = colon == std::string_view::npos ? std::string_view() : left.substr(colon + 1);
  }
}

// The program that takes over from this one is not the process that the variable names.
std::chrono::microseconds WatchdogTime(const char* pid, const char* text) {
  uint64_t number = 0;
  if (text == nullptr || (pid != nullptr && atoi(pid) != getpid())) return {};
  const auto [end, error] = std::from_chars(text, text + strlen(text), number);
  if (error != std::errc() || *end != '\0' || number > INT64_MAX) return {};
  return std::chrono::microseconds(number);
}

bool ListensOnPath(int fd) {
  int listens = 0;
  socklen_t length = sizeof(listens);
  sockaddr_un address{};
  socklen_t bytes = sizeof(address);
  return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == 0 && listens != 0 &&
         getsockname(fd, reinterpret_cast<sockaddr*>(&address), &bytes) == 0 &&
         address.sun_family == AF_UNIX && address.sun_path[0] == '/';
}

void Send(const std::string& text, int fd) {
  Manager& manager = TheManager();
  if (!manager.socket) return;
  if (SendWithDescriptors(manager.socket.get(), text.data(), text.size(),
                          std::span(&fd, fd >= 0 ? 1 : 0)) < 0) {
    spdlog::warn("telling the service manager: {}", strerror(errno));
  }
}

}  // namespace

void MeetServiceManager() {
  if (const char* path = getenv("NOTIFY_SOCKET")) TheManager().socket = Connect(path);
  TakeKept(getenv("LISTEN_PID"), getenv("LISTEN_FDS"), getenv("LISTEN_FDNAMES"));
  for (const char* name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) unsetenv(name);
  TheManager().watchdog = WatchdogTime(getenv("WATCHDOG_PID"), getenv("WATCHDOG_USEC"));
  unsetenv("WATCHDOG_PID");
  if (TheManager().watchdog.count() == 0) unsetenv("WATCHDOG_USEC");
}

bool HaveServiceManager() { return static_cast<bool>(TheManager().socket); }

void TellServiceManager(const std::string& text) { Send(text, -1); }

std::chrono::microseconds WatchdogTime() { return TheManager().watchdog; }

UniqueFd GivenSocket() {
  auto& kept = TheManager().kept;
  for (auto entry = kept.begin(); entry != kept.end(); ++entry) {
    if (!ListensOnPath(entry->second.get())) continue;
    UniqueFd given = std::move(entry->second);
    kept.erase(entry);
    return given;
  }
  return {};
}

void KeepDescriptor(const std::string& name, int fd) {
  if (!HaveServiceManager()) return;
  // What is kept under a name is added to, not replaced.
  Send("FDSTOREREMOVE=1\nFDNAME=" + name, -1);
  Send("FDSTORE=1\nFDNAME=" + name, fd);
}

void ForgetDescriptor(const std::string& name) {
  TheManager().kept.erase(name);
  if (HaveServiceManager()) Send("FDSTOREREMOVE=1\nFDNAME=" + name, -1);
}

UniqueFd KeptDescriptor(const std::string& name) {
  const auto& kept = TheManager().kept;
  const auto found = kept.find(name);
  if (found == kept.end()) return {};
  return UniqueFd(fcntl(found->second.get(), F_DUPFD_CLOEXEC, 0));
}

std::vector<std::string> NamesOfKept(std::string_view prefix) {
  std::vector<std::string> names;
  for (const auto& [name, fd] : TheManager().kept) {
    if (name.starts_with(prefix)) names.push_back(name);
  }
  return names;
}

void AddKept(const std::string& name, UniqueFd fd) { TheManager().kept[name] = std::move(fd); }

void DropKeptDescriptors() { TheManager().kept.clear(); }

std::string NameOfDevice(const std::string& session, uint32_t mount_index) {
  return "fuse-" + session + "-" + std::to_string(mount_index);
}
std::string NameOfTables(const std::string& session) { return "meta-" + session; }
std::string PrefixOfSlabs(const std::string& session) { return "slab-" + session + "-"; }
std::string NameOfSlab(const std::string& session, uint32_t index) {
  return PrefixOfSlabs(session) + std::to_string(index);
}

}  // namespace airstore::broker
