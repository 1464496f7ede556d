// SPDX-License-Identifier: Apache-2.0
#include "tests/fault/service_store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <vector>

namespace airstore::fault {

ServiceStore::ServiceStore(const std::string& path)
    : socket_(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  EXPECT_EQ(bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  setenv("NOTIFY_SOCKET", path.c_str(), 1);
}

ServiceStore::~ServiceStore() { unsetenv("NOTIFY_SOCKET"); }

void ServiceStore::Receive() {
  for (;;) {
    char text[4096];
    iovec part{text, sizeof(text)};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof(control);
    const ssize_t got = recvmsg(socket_.get(), &header, MSG_CMSG_CLOEXEC);
    if (got < 0) return;
    UniqueFd fd;
    if (const cmsghdr* rights = CMSG_FIRSTHDR(&header)) {
      int raw = -1;
      memcpy(&raw, CMSG_DATA(rights), sizeof(raw));
      fd.reset(raw);
    }
    const std::string message(text, static_cast<size_t>(got));
    ready_ |= message.find("READY=1") != std::string::npos;
    alive_ += message.find("WATCHDOG=1") != std::string::npos;
    if (const size_t main = message.find("MAINPID="); main != std::string::npos) {
      main_pid_ = atoi(message.c_str() + main + 8);
    }
    const size_t at = message.find("FDNAME=");
    if (at == std::string::npos) continue;
    const std::string name = message.substr(at + 7, message.find('\n', at) - at - 7);
    if (message.find("FDSTOREREMOVE=1") != std::string::npos) kept_.erase(name);
    if (message.find("FDSTORE=1") != std::string::npos) kept_[name] = std::move(fd);
  }
}

// As a start finds them: descriptors from 3 on, and who they are for.
void ServiceStore::StartBroker(e2e::Host& host) const {
  std::string names;
  int number = 3;
  std::vector<std::pair<int, int>> placed;
  for (const auto& [name, fd] : kept_) {
    names += (names.empty() ? "" : ":") + name;
    placed.emplace_back(fcntl(fd.get(), F_DUPFD_CLOEXEC, 100), number++);
  }
  std::string script = "export LISTEN_PID=$$ LISTEN_FDS=" + std::to_string(placed.size()) +
                       " LISTEN_FDNAMES=" + names + "; exec";
  for (const auto& [from, to] : placed) {
    fcntl(from, F_SETFD, 0);
    // Shells know descriptors of one digit only.
    script += " " + std::to_string(to) + "<&" + std::to_string(from);
  }
  ASSERT_LE(placed.size(), 6u);
  script += "; exec \"$0\" \"$@\"";
  host.StartBrokerWith({"/bin/bash", "-c", script});
  for (const auto& [from, to] : placed) close(from);
}

}  // namespace airstore::fault
