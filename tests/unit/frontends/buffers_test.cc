// SPDX-License-Identifier: Apache-2.0
//
// What a volume keeps for later: descriptors, buffers, directory hints.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <thread>

#include "frontends/volume/buffer_pool.h"
#include "frontends/volume/content_fds.h"
#include "frontends/volume/dir_hints.h"

namespace airstore::volume {
namespace {

using std::chrono::milliseconds;

UniqueFd Null() { return UniqueFd(open("/dev/null", O_RDONLY | O_CLOEXEC)); }

TEST(ContentFds, KeepsTheMostRecentlyUsed) {
  ContentFds fds;
  for (uint64_t id = 1; id <= ContentFds::kLimit; ++id) {
    fds.Insert(id, Null());
    EXPECT_NE(nullptr, fds.Wait(id, id, 0, milliseconds(1)));
  }
  EXPECT_NE(nullptr, fds.Get(1));
  fds.Insert(1000, Null());
  EXPECT_EQ(ContentFds::kLimit, fds.size());
  EXPECT_NE(nullptr, fds.Get(1));
  EXPECT_EQ(nullptr, fds.Get(2));
}

TEST(ContentFds, KeepsWhatIsStillWaitedFor) {
  ContentFds fds;
  fds.Insert(1, Null());
  for (uint64_t id = 2; id <= 2 * ContentFds::kLimit; ++id) {
    fds.Insert(id, Null());
    EXPECT_NE(nullptr, fds.Wait(id, id, 0, milliseconds(1)));
  }
  EXPECT_EQ(ContentFds::kLimit, fds.size());
  EXPECT_NE(nullptr, fds.Wait(1, 1, 0, milliseconds(1)));
  for (uint64_t id = 1000; id < 1000 + 3 * ContentFds::kLimit; ++id) fds.Insert(id, Null());
  EXPECT_EQ(ContentFds::kMostUntaken, fds.size());
}

TEST(ContentFds, WaitsForADescriptorToCome) {
  ContentFds fds;
  EXPECT_EQ(nullptr, fds.Wait(7, 1, 0, milliseconds(1)));
  std::thread channel([&] { fds.Insert(7, Null()); });
  EXPECT_NE(nullptr, fds.Wait(7, 1, 0, milliseconds(5000)));
  channel.join();
}

TEST(ContentFds, SweepDropsStaleOnesAndSparesThoseInUse) {
  ContentFds fds;
  fds.Insert(7, Null());
  const ContentFd used = fds.Wait(7, 70, 0, milliseconds(1));
  fds.Insert(8, Null());  // nobody has claimed it yet
  fds.Sweep([](uint64_t inode, uint64_t id) {
    EXPECT_EQ(70u, inode);
    return id == 7;
  });
  EXPECT_EQ(nullptr, fds.Get(7));
  EXPECT_NE(nullptr, fds.Get(8));
  EXPECT_NE(-1, fcntl(used->get(), F_GETFD));
}

TEST(BufferPool, GivesTheSameBufferAgain) {
  BufferPool pool;
  const uint8_t* first = nullptr;
  {
    const auto lease = pool.Take(100);
    first = lease.data();
  }
  const auto again = pool.Take(1000);
  EXPECT_EQ(first, again.data());
  const auto other = pool.Take(1000);
  EXPECT_NE(first, other.data());
}

TEST(BufferPool, ServesMoreThanABuffer) {
  BufferPool pool;
  const auto lease = pool.Take(3u << 20);
  lease.data()[(3u << 20) - 1] = 1;
}

TEST(DirHints, ForgetsButNeverConfuses) {
  DirHints hints;
  const uint64_t handle = hints.NewHandle();
  hints.Put({handle, 5, 6, true});
  EXPECT_EQ(5u, hints.Get(handle).cookie);
  for (int i = 0; i < 1000; ++i) {
    const uint64_t other = hints.NewHandle();
    EXPECT_EQ(0u, hints.Get(other).cookie);
    hints.Put({other, 1, 2, false});
  }
  EXPECT_EQ(0u, hints.Get(handle).cookie);
  EXPECT_EQ(handle, hints.Get(handle).handle);
}

}  // namespace
}  // namespace airstore::volume
