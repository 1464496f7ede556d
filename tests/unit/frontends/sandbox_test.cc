// SPDX-License-Identifier: Apache-2.0
#include "frontends/process/sandbox.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <thread>

namespace airstore::fuse {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

void Restrict() {
  if (!DropPrivileges() || !RestrictSystemCalls()) _exit(99);
}

TEST(SandboxDeathTest, ServingStillWorks) {
  if (kSanitized) GTEST_SKIP() << "no filter under a sanitizer";
  EXPECT_EXIT(
      {
        Restrict();
        void* map = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        std::thread([] {}).join();
        _exit(map == MAP_FAILED ? 1 : 0);
      },
      ::testing::ExitedWithCode(0), "");
}

TEST(SandboxDeathTest, TheNextBrokerMayConnect) {
  if (kSanitized) GTEST_SKIP() << "no filter under a sanitizer";
  const int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socklen_t bytes = sizeof(sa_family_t);  // the kernel makes up a name
  ASSERT_EQ(0, bind(listener, reinterpret_cast<sockaddr*>(&address), bytes));
  ASSERT_EQ(0, listen(listener, 1));
  bytes = sizeof(address);
  ASSERT_EQ(0, getsockname(listener, reinterpret_cast<sockaddr*>(&address), &bytes));
  const int client = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  ASSERT_EQ(0, connect(client, reinterpret_cast<sockaddr*>(&address), bytes));
  const int memory = memfd_create("memory", MFD_CLOEXEC);
  ASSERT_EQ(0, ftruncate(memory, 4096));
  EXPECT_EXIT(
      {
        void* map = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        Restrict();
        const int accepted = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        ucred peer{};
        socklen_t length = sizeof(peer);
        if (accepted < 0) _exit(1);
        if (getsockopt(accepted, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) _exit(2);
        if (getsockopt(accepted, SOL_SOCKET, SO_TYPE, &peer, &length) == 0) _exit(3);
        if (dup3(accepted, client, O_CLOEXEC) != client) _exit(4);
        if (mmap(map, 4096, PROT_READ, MAP_SHARED | MAP_FIXED, memory, 0) != map) _exit(5);
        _exit(0);
      },
      ::testing::ExitedWithCode(0), "");
  close(memory);
  close(client);
  close(listener);
}

TEST(SandboxDeathTest, OpeningByNameFails) {
  if (kSanitized) GTEST_SKIP() << "no filter under a sanitizer";
  EXPECT_EXIT(
      {
        Restrict();
        _exit(open("/etc/passwd", O_RDONLY) < 0 && errno == ENOSYS ? 0 : 1);
      },
      ::testing::ExitedWithCode(0), "");
}

TEST(SandboxDeathTest, ASocketIsTheEnd) {
  if (kSanitized) GTEST_SKIP() << "no filter under a sanitizer";
  EXPECT_EXIT(
      {
        Restrict();
        _exit(socket(AF_INET, SOCK_STREAM, 0) < 0 ? 1 : 0);
      },
      ::testing::KilledBySignal(SIGSYS), "");
}

}  // namespace
}  // namespace airstore::fuse
