// SPDX-License-Identifier: Apache-2.0
#include "broker/frontend_link.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <thread>

#include "broker/frontend.h"
#include "broker/mount_manifest.h"
#include "shm/channel.h"
#include "temp_dir.h"

namespace airstore::broker {
namespace {

constexpr char kName[] = "mount-3.sock";

// The frontend's side, as a thread of this process; the protocol itself is tested with frontends.
class Listening : public testing::Test {
 protected:
  void SetUp() override {
    auto bound = BindFrontendSocket(directory_.path(), kName);
    ASSERT_TRUE(bound) << bound.error().ToString();
    socket_ = std::move(*bound);
    ASSERT_EQ(listen(socket_.get(), 4), 0);
    memory_.reset(memfd_create("memory", MFD_CLOEXEC));
  }
  void TearDown() override {
    if (frontend_.joinable()) frontend_.join();
  }
  template <typename Work>
  void Serve(Work work) {
    frontend_ = std::thread([this, work] {
      const UniqueFd connection(accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      work(connection.get());
    });
  }
  static shm::ChannelMessage Message(shm::ChannelKind kind, uint64_t id) {
    shm::ChannelMessage message{};
    message.kind = static_cast<uint32_t>(kind);
    message.id = id;
    message.mount_index = 3;
    message.session[0] = 9;
    return message;
  }
  Result<FrontendLink> Connect(uint32_t uid = geteuid()) {
    return ConnectFrontend(directory_.path(), kName, uid);
  }

  TempDir directory_;
  UniqueFd socket_;
  UniqueFd memory_;
  std::thread frontend_;
};

TEST_F(Listening, TellsWhatThereIs) {
  const int fd = memory_.get();
  Serve([fd](int connection) {
    ASSERT_TRUE(shm::SendMessage(connection, Message(shm::ChannelKind::kHello, 2), {fd, fd}));
    ASSERT_TRUE(shm::SendMessage(connection, Message(shm::ChannelKind::kSlab, 4), {fd}));
    ASSERT_TRUE(shm::SendMessage(connection, Message(shm::ChannelKind::kSlab, 7), {fd}));
    auto asked = shm::ReceiveMessage(connection);
    ASSERT_TRUE(asked);
    EXPECT_EQ(asked->message.kind, static_cast<uint32_t>(shm::ChannelKind::kReattach));
    EXPECT_EQ(asked->fds.size(), 2u);
    ASSERT_TRUE(shm::SendMessage(connection, Message(shm::ChannelKind::kReady, 0), {}));
  });
  auto link = Connect();
  ASSERT_TRUE(link) << link.error().ToString();
  EXPECT_EQ(link->pid, getpid());
  EXPECT_TRUE(link->pidfd);
  EXPECT_TRUE(link->device);
  EXPECT_TRUE(link->meta);
  EXPECT_EQ(link->mount_index, 3u);
  EXPECT_EQ(link->session[0], 9);
  ASSERT_EQ(link->slabs.size(), 2u);
  EXPECT_EQ(link->slabs[0].first, 4u);
  EXPECT_EQ(link->slabs[1].first, 7u);
  EXPECT_EQ(VersionProblem(*link), "");
  EXPECT_TRUE(Reattach(*link, fd, fd));
}

// Each part comes in time; all of it would take minutes.
TEST_F(Listening, ForAGreetingWithoutAnEndIsNotWaitedFor) {
  const int fd = memory_.get();
  Serve([fd](int connection) {
    (void)shm::SendMessage(connection, Message(shm::ChannelKind::kHello, 4096), {fd, fd});
    while (shm::SendMessage(connection, Message(shm::ChannelKind::kSlab, 4), {fd})) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  });
  const auto begun = std::chrono::steady_clock::now();
  auto link = ConnectFrontend(directory_.path(), kName, geteuid(), std::chrono::milliseconds(200));
  ASSERT_FALSE(link);
  EXPECT_EQ(link.error().code, ETIMEDOUT);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(60));
}

TEST_F(Listening, SaysWhyItRefuses) {
  const int fd = memory_.get();
  Serve([fd](int connection) {
    ASSERT_TRUE(shm::SendMessage(connection, Message(shm::ChannelKind::kHello, 0), {fd, fd}));
    (void)shm::ReceiveMessage(connection);
    shm::ChannelMessage no = Message(shm::ChannelKind::kFailed, 0);
    no.text_bytes = 3;
    memcpy(no.text, "why", 3);
    ASSERT_TRUE(shm::SendMessage(connection, no, {}));
  });
  auto link = Connect();
  ASSERT_TRUE(link) << link.error().ToString();
  const auto refused = Reattach(*link, fd, fd);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message, "the frontend refuses: why");
}

TEST_F(Listening, OfAnotherVersionGivesItsDevice) {
  const int fd = memory_.get();
  Serve([fd](int connection) {
    // Shorter than ours, as another build's may be.
    shm::ChannelMessage hello = Message(shm::ChannelKind::kHello, 0);
    hello.abi_major = shm::kAbiMajor + 1;
    iovec part{&hello, 64};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof(control);
    cmsghdr* c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    ASSERT_EQ(sendmsg(connection, &header, 0), 64);
  });
  auto link = Connect();
  ASSERT_TRUE(link) << link.error().ToString();
  EXPECT_TRUE(link->device);
  const std::string problem = VersionProblem(*link);
  EXPECT_NE(problem.find("ABI " + std::to_string(shm::kAbiMajor + 1)), std::string::npos)
      << problem;
  EXPECT_NE(problem.find(std::to_string(shm::kAbiMajor) + "." + std::to_string(shm::kAbiMinor)),
            std::string::npos);
}

TEST_F(Listening, AsAnotherUserIsRefused) {
  auto link = Connect(geteuid() + 1);
  ASSERT_FALSE(link);
  EXPECT_EQ(link.error().code, EPERM);
}

TEST_F(Listening, TablesOfAnotherUserAreRefused) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
  ASSERT_EQ(fchown(memory_.get(), 1234, 1234), 0);
  const int fd = memory_.get();
  Serve([fd](int connection) {
    ASSERT_TRUE(shm::SendMessage(connection, Message(shm::ChannelKind::kHello, 0), {fd, fd}));
  });
  auto link = Connect();
  ASSERT_FALSE(link);
  EXPECT_EQ(link.error().code, EPERM);
}

TEST_F(Listening, OrNot) {
  socket_.reset();
  EXPECT_EQ(Connect().error().code, ECONNREFUSED);
  EXPECT_EQ(ConnectFrontend(directory_.path(), "other.sock", geteuid()).error().code, ENOENT);
}

// What it has asked for and does not take waits for it, up to a point; we do not.
TEST(FrontendChannel, DoesNotHoldUpTheBroker) {
  boost::asio::io_context loop;
  int sockets[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
  const UniqueFd theirs(sockets[1]);
  FrontendProcess process;
  process.pid = getpid();
  process.pidfd.reset(static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0)));
  process.channel.reset(sockets[0]);
  // It fails instead of hanging.
  const timeval patience{5, 0};
  setsockopt(sockets[0], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  Frontend frontend(loop.get_executor());
  frontend.Adopt(std::move(process));
  const UniqueFd memory(memfd_create("memory", MFD_CLOEXEC));
  const auto begun = std::chrono::steady_clock::now();
  uint64_t taken = 0;
  Result<void> sent;
  while (taken < 100'000 && (sent = frontend.SendContent(taken, memory.get()))) ++taken;
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, ENOBUFS);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(5));
  for (uint64_t id = 0; id < taken; ++id) {
    auto message = shm::ReceiveMessage(theirs.get());
    ASSERT_TRUE(message) << id;
    EXPECT_EQ(message->message.id, id);
    EXPECT_EQ(message->fds.size(), 1u);
    loop.restart();
    loop.poll();
  }
  EXPECT_TRUE(frontend.SendContent(taken, memory.get()));
  EXPECT_EQ(shm::ReceiveMessage(theirs.get())->message.id, taken);
  frontend.CloseChannel();
  EXPECT_EQ(shm::ReceiveMessage(theirs.get()).error().code, ECONNRESET);
}

TEST(FrontendSocket, MayLieInALongDirectory) {
  const TempDir directory;
  const std::string path = directory.path() + "/" + std::string(200, 'd');
  ASSERT_TRUE(std::filesystem::create_directory(path));
  auto bound = BindFrontendSocket(path, kName);
  ASSERT_TRUE(bound) << bound.error().ToString();
  EXPECT_TRUE(std::filesystem::is_socket(path + "/" + kName));
  EXPECT_TRUE(BindFrontendSocket(path, kName));  // in its place
}

MountManifest Example() {
  MountManifest manifest;
  manifest.index = 3;
  manifest.spec.gateway = "host:1";
  manifest.spec.token = "secret";
  manifest.spec.workspace = "a \"quoted\" one";
  manifest.spec.mountpoint = "/mnt/with space";
  manifest.spec.uid = 0;
  manifest.spec.relatime = true;
  manifest.spec.squash = SquashWho::kRoot;
  manifest.spec.anonymous_uid = 99;
  manifest.spec.read_only = true;
  manifest.owner.uid = 1000;
  manifest.owner.gid = 1001;
  manifest.passthrough = true;
  manifest.device_minor = 77;
  return manifest;
}

TEST(MountManifest, IsReadAsItWasWritten) {
  const TempDir directory;
  ASSERT_TRUE(WriteMountManifest(directory.path(), Example()));
  ASSERT_TRUE(WriteMountManifest(directory.path(), Example()));
  const std::string path = directory.path() + "/mount-3.json";
  struct stat info {};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600u);
  const auto all = MountManifestsIn(directory.path());
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].index, 3u);
  EXPECT_EQ(all[0].spec.gateway, "host:1");
  EXPECT_EQ(all[0].spec.token, "");
  EXPECT_EQ(all[0].spec.workspace, Example().spec.workspace);
  EXPECT_EQ(all[0].spec.mountpoint, "/mnt/with space");
  EXPECT_EQ(all[0].spec.uid, 0u);
  EXPECT_EQ(all[0].spec.gid, std::nullopt);
  EXPECT_TRUE(all[0].spec.relatime);
  EXPECT_EQ(all[0].spec.squash, SquashWho::kRoot);
  EXPECT_EQ(all[0].spec.anonymous_uid, 99u);
  EXPECT_EQ(all[0].spec.anonymous_gid, kAnonymous);
  EXPECT_TRUE(all[0].spec.read_only);
  EXPECT_EQ(all[0].owner.uid, 1000u);
  EXPECT_EQ(all[0].owner.gid, 1001u);
  EXPECT_TRUE(all[0].passthrough);
  EXPECT_EQ(all[0].device_minor, 77u);
  RemoveMountManifest(directory.path(), 3);
  EXPECT_TRUE(MountManifestsIn(directory.path()).empty());
}

TEST(MountManifest, NonsenseIsLeftOut) {
  const TempDir directory;
  for (const char* text : {"", "{", "[]", "{\"index\": \"x\"}", "{\"index\": 3}"}) {
    const UniqueFd file(open((directory.path() + "/mount-3.json").c_str(),
                             O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    ASSERT_EQ(write(file.get(), text, strlen(text)), static_cast<ssize_t>(strlen(text)));
    EXPECT_TRUE(MountManifestsIn(directory.path()).empty()) << text;
  }
}

}  // namespace
}  // namespace airstore::broker
