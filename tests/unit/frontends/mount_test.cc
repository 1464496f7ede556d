// SPDX-License-Identifier: Apache-2.0
//
// The real airstore-fuse process on a real mount, with the fake broker behind it: what only the
// kernel can say about INIT, passthrough, the sandbox and the end of a mount.
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/ioctl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <set>

#include "fake_broker.h"
#include "frontends/volume/attach.h"
#include "shm/channel.h"

namespace airstore::testing {
namespace {

struct BackingMap {
  int32_t fd;
  uint32_t flags;
  uint64_t padding;
};
#define AIRSTORE_BACKING_OPEN _IOW(229, 1, BackingMap)

class MountedFrontend : public ::testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/airstore-mount-XXXXXX";
    path_ = mkdtemp(pattern);
    device_.reset(open("/dev/fuse", O_RDWR | O_CLOEXEC));
    if (!device_) GTEST_SKIP() << "no access to /dev/fuse";
    const std::string data = "fd=" + std::to_string(device_.get()) +
                             ",rootmode=40000,user_id=0,group_id=0,allow_other,"
                             "default_permissions";
    if (mount("airstore-test", path_.c_str(), "fuse", MS_NOSUID | MS_NODEV, data.c_str()) != 0) {
      GTEST_SKIP() << "cannot mount: " << strerror(errno);
    }
    mounted_ = true;
    broker_ = std::make_unique<FakeBroker>(volume::VolumeOptions{}, FakeBroker::Frontend::kProcess);
    Start();
  }

  void TearDown() override {
    if (pid_ > 0) kill(pid_, SIGCONT);
    if (mounted_) umount2(path_.c_str(), MNT_DETACH);
    device_.reset();
    channel_.reset();
    if (pid_ > 0) waitpid(pid_, nullptr, 0);
    rmdir(path_.c_str());
  }

  void Start() {
    int ends[2];
    ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends));
    channel_.reset(ends[0]);
    const auto begin = std::chrono::steady_clock::now();
    pid_ = fork();
    ASSERT_GE(pid_, 0);
    if (pid_ == 0) {
      if (ends[1] == volume::kChannelFd) {
        fcntl(ends[1], F_SETFD, 0);
      } else {
        dup2(ends[1], volume::kChannelFd);
      }
      execl(AIRSTORE_FUSE_PROGRAM, "airstore-fuse", path_.c_str(), nullptr);
      _exit(127);
    }
    close(ends[1]);
    broker_->SendAttach(channel_.get(), device_.get(), shm::kAttachPassthrough);
    const auto received = shm::ReceiveMessage(channel_.get());
    ASSERT_TRUE(received) << received.error().ToString();
    const shm::ChannelMessage& message = (*received).message;
    ASSERT_EQ(static_cast<uint32_t>(shm::ChannelKind::kReady), message.kind)
        << std::string(message.text, message.text_bytes);
    ready_ = std::chrono::steady_clock::now() - begin;
  }

  int ExitStatus() {
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }

  std::string Path(const std::string& name) const { return path_ + "/" + name; }

  static std::string ReadAll(const std::string& path) {
    std::ifstream in(path);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  // A broker that creates files and serves what is opened for writing by passthrough from one
  // content file.
  bool CreateWithPassthrough(const shm::Call& call, shm::RequestReply* reply) {
    switch (static_cast<shm::Op>(call.args.op)) {
      case shm::Op::kCreate: {
        shm::InodeRecord record{};
        record.inode = 50;
        record.mode = call.args.mode;
        record.nlink = 1;
        record.known_by = 1;
        record.flags = shm::kPassthroughWriter | shm::kPassthroughOpen;
        reply->inode_index = *broker_->meta().AddInode(record);
        reply->attr = record;
        if (!broker_->meta().AddDentry(call.args.inode, call.name, 50, S_IFREG >> 12)) return false;
        content_.reset(memfd_create("content", MFD_CLOEXEC));
        BackingMap map{content_.get(), 0, 0};
        reply->backing_id = ioctl(device_.get(), AIRSTORE_BACKING_OPEN, &map);
        if (reply->backing_id <= 0) reply->error = errno;
        reply->open_mode = shm::kOpenPassthrough;
        return true;
      }
      case shm::Op::kGetattr: {
        const uint32_t index = broker_->meta().IndexOf(call.args.inode);
        struct stat st {};
        fstat(content_.get(), &st);
        reply->inode_index = index;
        reply->attr = broker_->meta().Inode(index);
        reply->attr.size = static_cast<uint64_t>(st.st_size);
        return true;
      }
      default:
        reply->error = ENOENT;
        return true;
    }
  }

  std::string path_;
  UniqueFd device_;
  UniqueFd channel_;
  UniqueFd content_;
  pid_t pid_ = -1;
  bool mounted_ = false;
  std::chrono::nanoseconds ready_{};
  std::unique_ptr<FakeBroker> broker_;
};

TEST_F(MountedFrontend, ReadsCachedFilesWithoutTheBroker) {
  broker_->AddFile(10, shm::kRootInode, "a");
  broker_->SetContent(10, "hello world");
  const uint64_t popped = broker_->Popped();
  for (int i = 0; i < 3; ++i) EXPECT_EQ("hello world", ReadAll(Path("a")));
  struct stat st;
  ASSERT_EQ(0, stat(Path("a").c_str(), &st));
  EXPECT_EQ(10u, st.st_ino);
  EXPECT_EQ(5u, st.st_uid);
  EXPECT_EQ(11, st.st_size);
  EXPECT_EQ(popped, broker_->Popped());
  EXPECT_EQ(3u, broker_->Counter(shm::kOpenLocal));
  EXPECT_EQ(1u, broker_->Counter(shm::kReadSlab));  // the kernel kept the page for the others
}

TEST_F(MountedFrontend, RemembersThatANameDoesNotExist) {
  struct stat st;
  EXPECT_EQ(-1, stat(Path("none").c_str(), &st));
  EXPECT_EQ(ENOENT, errno);
  EXPECT_EQ(-1, stat(Path("none").c_str(), &st));
  EXPECT_EQ(1u, broker_->CallsOf(shm::Op::kLookup));
}

TEST_F(MountedFrontend, ListsADirectoryWithAttributes) {
  broker_->AddDirectory(100, shm::kRootInode, "d");
  std::set<std::string> expected{".", ".."};
  for (uint64_t i = 0; i < 500; ++i) {
    const std::string name = "file" + std::to_string(i);
    broker_->AddFile(200 + i, 100, name);
    expected.insert(name);
  }
  DIR* directory = opendir(Path("d").c_str());
  ASSERT_NE(nullptr, directory);
  std::set<std::string> names;
  struct stat st;
  while (const dirent* entry = readdir(directory)) {
    EXPECT_TRUE(names.insert(entry->d_name).second);
    EXPECT_EQ(0, fstatat(dirfd(directory), entry->d_name, &st, 0));
  }
  closedir(directory);
  EXPECT_EQ(expected, names);
  EXPECT_EQ(0u, broker_->Counter(shm::kBrokerCalls));
}

TEST_F(MountedFrontend, PassthroughFileNeedsNoFrontendToReadAndWrite) {
  broker_->OnCall([this](const shm::Call& call, shm::RequestReply* reply) {
    return CreateWithPassthrough(call, reply);
  });
  const UniqueFd file(open(Path("new").c_str(), O_RDWR | O_CREAT, 0644));
  ASSERT_TRUE(file) << strerror(errno);
  // The first write asks for security.capability; the answer (there is none) is remembered.
  EXPECT_EQ(5, pwrite(file.get(), "first", 5, 0));
  kill(pid_, SIGSTOP);
  alarm(20);  // ends the test if the frontend is needed after all
  EXPECT_EQ(5, pwrite(file.get(), "bytes", 5, 0));
  char bytes[5];
  EXPECT_EQ(5, pread(file.get(), bytes, 5, 0));
  EXPECT_EQ("bytes", std::string(bytes, 5));
  void* map = mmap(nullptr, 4096, PROT_READ, MAP_SHARED, file.get(), 0);
  ASSERT_NE(MAP_FAILED, map);
  EXPECT_EQ(0, memcmp(map, "bytes", 5));
  munmap(map, 4096);
  alarm(0);
  kill(pid_, SIGCONT);
  struct stat st;
  EXPECT_EQ(0, fstat(file.get(), &st));
  EXPECT_EQ(5, st.st_size);
}

TEST_F(MountedFrontend, WritesThroughTheDaemonReachTheBroker) {
  const uint32_t index = broker_->AddFile(10, shm::kRootInode, "a");
  const std::string text(3u << 20, 'w');
  broker_->OnCall([&](const shm::Call& call, shm::RequestReply* reply) {
    if (call.args.op == static_cast<uint32_t>(shm::Op::kLookup)) reply->error = ENOENT;
    reply->attr = broker_->meta().Inode(index);
    reply->inode_index = index;
    return true;
  });
  const UniqueFd file(open(Path("a").c_str(), O_WRONLY));
  ASSERT_TRUE(file) << strerror(errno);
  EXPECT_EQ(static_cast<ssize_t>(text.size()), write(file.get(), text.data(), text.size()));
  EXPECT_EQ(0, fsync(file.get()));
  EXPECT_EQ(text, broker_->Written(10));
  EXPECT_EQ(1u, broker_->CallsOf(shm::Op::kFsync));
}

TEST_F(MountedFrontend, AnswersWhatItDoesNotOffer) {
  broker_->AddFile(10, shm::kRootInode, "a");
  broker_->SetContent(10, "hello");
  const UniqueFd file(open(Path("a").c_str(), O_RDONLY));
  ASSERT_TRUE(file);
  EXPECT_EQ(0, lseek(file.get(), 0, SEEK_DATA));
  EXPECT_EQ(5, lseek(file.get(), 0, SEEK_HOLE));
  struct flock lock {};
  lock.l_type = F_RDLCK;
  EXPECT_EQ(0, fcntl(file.get(), F_SETLK, &lock));
  EXPECT_EQ(-1, ioctl(file.get(), 0x1234));
  EXPECT_EQ(ENOTTY, errno);
}

TEST_F(MountedFrontend, SignalEndsAWaitAtTheBroker) {
  broker_->OnCall([](const shm::Call&, shm::RequestReply*) { return false; });
  const pid_t client = fork();
  if (client == 0) {
    struct stat st;
    stat(Path("never").c_str(), &st);
    _exit(0);
  }
  while (broker_->CallsOf(shm::Op::kLookup) == 0) std::this_thread::yield();
  kill(client, SIGKILL);
  int status = 0;
  EXPECT_EQ(client, waitpid(client, &status, 0));
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(1u, broker_->Counter(shm::kInterrupted));
}

TEST_F(MountedFrontend, EndsWithTheMount) {
  ASSERT_EQ(0, umount2(path_.c_str(), 0));
  mounted_ = false;
  EXPECT_EQ(volume::kExitUnmounted, ExitStatus());
}

TEST_F(MountedFrontend, EndsWithTheBroker) {
  channel_.reset();
  EXPECT_EQ(volume::kExitBrokerGone, ExitStatus());
}

TEST_F(MountedFrontend, IsSmallAndQuick) {
  broker_->AddFile(10, shm::kRootInode, "a");
  broker_->SetContent(10, "hello world");
  for (int i = 0; i < 100; ++i) ReadAll(Path("a"));
  uint64_t private_kib = 0;
  std::ifstream rollup("/proc/" + std::to_string(pid_) + "/smaps_rollup");
  for (std::string line; std::getline(rollup, line);) {
    if (line.starts_with("Private_")) private_kib += strtoull(line.c_str() + 15, nullptr, 10);
  }
  RecordProperty("private_kib", static_cast<int>(private_kib));
  RecordProperty("ready_us", static_cast<int>(ready_.count() / 1000));
  printf("private %llu KiB, ready after %lld us\n", static_cast<unsigned long long>(private_kib),
         static_cast<long long>(ready_.count() / 1000));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LE(private_kib, 6u * 1024);
#endif
}

}  // namespace
}  // namespace airstore::testing
