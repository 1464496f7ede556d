// SPDX-License-Identifier: Apache-2.0
#include "frontends/fuse/sandbox.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
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
