// SPDX-License-Identifier: Apache-2.0
//
// The real airstore-fuse process on a real mount, with the fake broker behind it: what only the
// kernel can say about INIT, passthrough, the sandbox and the end of a mount.
#include "mounted_frontend.h"

namespace airstore::testing {
namespace {

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
  struct flock lock {};
  lock.l_type = F_RDLCK;
  EXPECT_EQ(0, fcntl(file.get(), F_SETLK, &lock));
  EXPECT_EQ(-1, ioctl(file.get(), 0x1234));
  EXPECT_EQ(ENOTTY, errno);
}

TEST_F(MountedFrontend, SignalsDoNotEndAWaitAtTheBroker) {
  std::atomic<bool> answer{false};
  broker_->OnCall([&](const shm::Call&, shm::RequestReply* reply) {
    answer.wait(false);
    reply->error = ENOENT;
    return true;
  });
  const pid_t client = fork();
  if (client == 0) {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    sigaction(SIGUSR1, &action, nullptr);
    struct stat st;
    _exit(stat(Path("never").c_str(), &st) == 0 ? 0 : errno);
  }
  while (broker_->CallsOf(shm::Op::kLookup) == 0) std::this_thread::yield();
  for (int i = 0; i < 10; ++i) {
    kill(client, SIGUSR1);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  answer = true;
  answer.notify_all();
  int status = 0;
  EXPECT_EQ(client, waitpid(client, &status, 0));
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(ENOENT, WEXITSTATUS(status));
}

TEST_F(MountedFrontend, EndsWithTheMount) {
  ASSERT_EQ(0, umount2(path_.c_str(), 0));
  mounted_ = false;
  EXPECT_EQ(volume::kExitUnmounted, ExitStatus());
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
