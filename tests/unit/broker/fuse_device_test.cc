// SPDX-License-Identifier: Apache-2.0
//
// Real mounts; a few lines of a FUSE server answer what the kernel asks of them.
#include "broker/fuse_device.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fuse.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "broker/fuse_mount.h"
#include "broker/proc_mounts.h"
#include "tests/unit/broker/temp_dir.h"

namespace airstore::broker {
namespace {

constexpr uint32_t kPassthrough = 1u << (37 - 32);
constexpr uint64_t kResent = uint64_t{1} << 63;

// The number of a lookup of "held" that was read and not answered; it is when it is sent again.
std::atomic<uint64_t> held_request{0};

void Reply(int device, uint64_t unique, int error, const void* body, size_t bytes) {
  std::string message(sizeof(fuse_out_header) + bytes, '\0');
  fuse_out_header header{};
  header.len = static_cast<uint32_t>(message.size());
  header.error = error;
  header.unique = unique;
  memcpy(message.data(), &header, sizeof header);
  if (bytes != 0) memcpy(message.data() + sizeof header, body, bytes);
  (void)!write(device, message.data(), message.size());
}

// INIT with passthrough, GETATTR of the root; ENOENT for names; until the mount is gone.
void Serve(int device) {
  std::string buffer(1 << 20, '\0');
  for (;;) {
    const ssize_t got = read(device, buffer.data(), buffer.size());
    if (got < 0 && (errno == EINTR || errno == ENOENT)) continue;
    if (got <= 0) return;
    fuse_in_header in{};
    memcpy(&in, buffer.data(), sizeof in);
    if (in.opcode == FUSE_INIT) {
      fuse_init_out out{};
      out.major = FUSE_KERNEL_VERSION;
      out.minor = FUSE_KERNEL_MINOR_VERSION;
      out.max_write = 4096;
      out.flags = FUSE_INIT_EXT;
      out.flags2 = kPassthrough;
      out.unused[0] = 1;  // max_stack_depth
      Reply(device, in.unique, 0, &out, sizeof out);
    } else if (in.opcode == FUSE_GETATTR) {
      fuse_attr_out out{};
      out.attr.ino = 1;
      out.attr.mode = S_IFDIR | 0755;
      out.attr.nlink = 2;
      Reply(device, in.unique, 0, &out, sizeof out);
    } else if (in.opcode == FUSE_LOOKUP) {
      if (strcmp(buffer.data() + sizeof in, "held") == 0 && (in.unique & kResent) == 0) {
        held_request.store(in.unique);
      } else {
        Reply(device, in.unique, -ENOENT, nullptr, 0);
      }
    } else if (in.opcode != FUSE_FORGET && in.opcode != FUSE_BATCH_FORGET &&
               in.opcode != FUSE_INTERRUPT) {
      Reply(device, in.unique, -ENOSYS, nullptr, 0);
    }
  }
}

class FuseDeviceTest : public testing::Test {
 protected:
  void SetUp() override {
    if (access("/dev/fuse", R_OK | W_OK) != 0) GTEST_SKIP() << "/dev/fuse cannot be opened";
    if (!HaveSysAdmin()) GTEST_SKIP() << "needs CAP_SYS_ADMIN";
    options_.mountpoint = temp_.path();
    options_.source = "airstore:test";
  }
  void TearDown() override {
    if (MountedAt(temp_.path())) umount2(temp_.path().c_str(), MNT_DETACH);
    if (server_.joinable()) server_.join();
  }
  std::unique_ptr<FuseDevice> Mounted() {
    auto device = FuseDevice::Mount(options_);
    EXPECT_TRUE(device) << device.error().ToString();
    if (!device) return nullptr;
    server_ = std::thread(Serve, (*device)->fd());
    struct stat info {};
    EXPECT_EQ(stat(temp_.path().c_str(), &info), 0);  // waits for INIT
    return std::move(*device);
  }

  TempDir temp_;
  FuseMountOptions options_;
  std::thread server_;
};

TEST_F(FuseDeviceTest, MountsAndUnmounts) {
  auto device = Mounted();
  ASSERT_TRUE(device);
  const auto mounted = MountedAt(temp_.path());
  ASSERT_TRUE(mounted);
  EXPECT_EQ(mounted->type, "fuse.airstore");
  EXPECT_EQ(mounted->source, "airstore:test");
  EXPECT_TRUE(device->Unmount(false));
  EXPECT_FALSE(MountedAt(temp_.path()));
  EXPECT_TRUE(device->Unmount(false)) << "a second time is harmless";
  server_.join();
}

TEST_F(FuseDeviceTest, UnmountsWhereItWasMovedTo) {
  const std::string parent = temp_ / "parent";
  options_.mountpoint = parent + "/mnt";
  ASSERT_EQ(mkdir(parent.c_str(), 0755), 0);
  ASSERT_EQ(mkdir(options_.mountpoint.c_str(), 0755), 0);
  auto device = FuseDevice::Mount(options_);
  ASSERT_TRUE(device) << device.error().ToString();
  ASSERT_EQ(rename(parent.c_str(), (temp_ / "moved").c_str()), 0);
  ASSERT_EQ(symlink("/", parent.c_str()), 0);
  EXPECT_TRUE((*device)->Mounted());
  EXPECT_TRUE((*device)->Unmount(true));
  EXPECT_FALSE(MountedAt(temp_ / "moved/mnt"));
}

TEST_F(FuseDeviceTest, DoesNotUnmountWhatLiesOverIt) {
  auto device = FuseDevice::Mount(options_);
  ASSERT_TRUE(device) << device.error().ToString();
  ASSERT_EQ(mount("none", temp_.path().c_str(), "tmpfs", 0, nullptr), 0);
  const auto covered = device->get()->Unmount(true);
  ASSERT_FALSE(covered);
  EXPECT_EQ(covered.error().code, ESTALE);
  EXPECT_EQ(MountedAt(temp_.path())->type, "tmpfs");
  ASSERT_EQ(umount2(temp_.path().c_str(), 0), 0);
  EXPECT_TRUE(device->get()->Unmount(true));
  EXPECT_FALSE(MountedAt(temp_.path()));
}

TEST_F(FuseDeviceTest, BusyMountPointNeedsLazyUnmount) {
  auto device = Mounted();
  ASSERT_TRUE(device);
  UniqueFd inside(open(temp_.path().c_str(), O_PATH | O_DIRECTORY));
  ASSERT_TRUE(inside);
  const auto refused = device->Unmount(false);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, EBUSY);
  EXPECT_TRUE(device->Unmount(true));
  EXPECT_FALSE(MountedAt(temp_.path()));
}

TEST_F(FuseDeviceTest, RefusesASecondMount) {
  auto device = Mounted();
  ASSERT_TRUE(device);
  const auto second = FuseDevice::Mount(options_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, EBUSY);
}

TEST_F(FuseDeviceTest, SaysHowToClearAStaleMount) {
  { ASSERT_TRUE(FuseDevice::Mount(options_)); }
  const auto second = FuseDevice::Mount(options_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ENOTCONN);
  EXPECT_NE(second.error().message.find("airctl unmount --force"), std::string::npos);
}

TEST_F(FuseDeviceTest, RefusesWhatIsNoDirectory) {
  options_.mountpoint = temp_.Write("file", "");
  EXPECT_EQ(FuseDevice::Mount(options_).error().code, ENOTDIR);
  options_.mountpoint = temp_ / "none";
  EXPECT_EQ(FuseDevice::Mount(options_).error().code, ENOENT);
}

TEST_F(FuseDeviceTest, LeavesAloneWhatOthersMountedThere) {
  auto device = Mounted();
  ASSERT_TRUE(device);
  ASSERT_EQ(umount2(temp_.path().c_str(), MNT_DETACH), 0);
  ASSERT_EQ(mount("none", temp_.path().c_str(), "tmpfs", 0, nullptr), 0);
  EXPECT_TRUE(device->Unmount(false));
  EXPECT_TRUE(MountedAt(temp_.path()));
}

TEST_F(FuseDeviceTest, NotifiesOfWhatTheKernelHolds) {
  auto device = Mounted();
  ASSERT_TRUE(device);
  EXPECT_TRUE(device->NotifyInvalAttr(1));
  EXPECT_TRUE(device->NotifyInvalData(1, 0, 0));
  EXPECT_EQ(device->NotifyInvalAttr(77).error().code, ENOENT);
  EXPECT_EQ(device->NotifyInvalEntry(1, "nothing").error().code, ENOENT);
  EXPECT_EQ(device->NotifyInvalEntry(1, "").error().code, EINVAL);
  const auto epoch = device->NotifyIncEpoch();
  EXPECT_TRUE(epoch || epoch.error().code == ENOSYS) << epoch.error().ToString();
}

class FuseDeviceHeldTest : public FuseDeviceTest {
 protected:
  // A call into the mount that nobody answers; its number.
  uint64_t Hold() {
    held_request.store(0);
    caller_ = std::thread([this] {
      struct stat info {};
      errno_ = stat((temp_ / "held").c_str(), &info) == 0 ? 0 : errno;
    });
    while (held_request.load() == 0) std::this_thread::yield();
    return held_request.load();
  }
  int Errno() {
    caller_.join();
    return errno_;
  }

 private:
  std::thread caller_;
  int errno_ = 0;
};

TEST_F(FuseDeviceHeldTest, HasRequestsSentAgain) {
  auto device = Mounted();
  ASSERT_TRUE(device);
  Hold();
  const auto resent = device->Resend();
  if (!resent) device->Abort();
  const int error = Errno();
  if (!resent) GTEST_SKIP() << "needs Linux 6.9: " << resent.error().ToString();
  EXPECT_EQ(error, ENOENT);
}

TEST_F(FuseDeviceHeldTest, AnswersForSomebodyElse) {
  auto device = Mounted();
  ASSERT_TRUE(device);
  const uint64_t unique = Hold();
  EXPECT_TRUE(device->Answer(unique, EIO));
  EXPECT_EQ(Errno(), EIO);
  EXPECT_EQ(device->Answer(unique, EIO).error().code, ENOENT);
}

TEST_F(FuseDeviceTest, RegistersBackingFiles) {
  if (!FuseDevice::PassthroughPossible()) GTEST_SKIP() << "needs Linux 6.9 and CAP_SYS_ADMIN";
  auto device = Mounted();
  ASSERT_TRUE(device);
  const TempDir other;
  const UniqueFd file(open((other / "file").c_str(), O_RDWR | O_CREAT, 0600));
  const auto id = device->BackingOpen(file.get());
  ASSERT_TRUE(id) << id.error().ToString();
  EXPECT_GT(*id, 0);
  device->BackingClose(*id);
  const UniqueFd directory(open(other.path().c_str(), O_RDONLY));
  EXPECT_FALSE(device->BackingOpen(directory.get()));
}

TEST_F(FuseDeviceTest, AbortEndsTheConnection) {
  auto device = Mounted();
  ASSERT_TRUE(device);
  device->Abort();
  server_.join();  // its read fails
  struct stat info {};
  EXPECT_NE(stat((temp_ / "x").c_str(), &info), 0);
  EXPECT_TRUE(errno == ENOTCONN || errno == ECONNABORTED || errno == ENOENT) << strerror(errno);
  EXPECT_TRUE(device->Unmount(true));
}

TEST_F(FuseDeviceTest, HelperMountsToo) {
  if (access("/usr/bin/fusermount3", X_OK) != 0) GTEST_SKIP() << "fusermount3 is not installed";
  options_.source = "airstore:a,b\\c";
  auto device = MountByHelper(options_);
  ASSERT_TRUE(device) << device.error().ToString();
  const auto mounted = MountedAt(temp_.path());
  ASSERT_TRUE(mounted);
  EXPECT_EQ(mounted->type, kFuseType);
  EXPECT_EQ(mounted->source, options_.source);
  EXPECT_TRUE(UnmountByHelper(*mounted, false));
  EXPECT_FALSE(MountedAt(temp_.path()));
}

TEST_F(FuseDeviceTest, HelperSaysWhatIsWrong) {
  if (access("/usr/bin/fusermount3", X_OK) != 0) GTEST_SKIP() << "fusermount3 is not installed";
  options_.mountpoint = temp_ / "none";
  const auto device = MountByHelper(options_);
  ASSERT_FALSE(device);
  EXPECT_NE(device.error().message.find("fusermount3:"), std::string::npos);
}

}  // namespace
}  // namespace airstore::broker
