// SPDX-License-Identifier: Apache-2.0
//
// A frontend whose broker has died: it serves what is cached, holds the rest, and attaches to the
// next one.
#include <future>

#include "mounted_frontend.h"

namespace airstore::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class OrphanedFrontend : public MountedFrontend {
 protected:
  void SetUp() override {
    MountedFrontend::SetUp();
    if (IsSkipped()) return;
    broker_->AddFile(10, shm::kRootInode, "a");
    broker_->SetContent(10, "hello world");
    ASSERT_EQ("hello world", ReadAll(Path("a")));
  }
  void KillBroker() {
    broker_->Die();
    channel_.reset();
  }
  UniqueFd Connect() {
    UniqueFd connection(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    const sockaddr_un address = broker_->NextBrokerAddress();
    EXPECT_EQ(
        0, connect(connection.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)));
    return connection;
  }
  // Of a new broker; the channel from then on.
  void Succeed() {
    channel_ = Connect();
    ASSERT_EQ("", broker_->Succeed(channel_.get()));
  }
  // A process that runs `work` and exits with what it says.
  template <typename Work>
  pid_t Client(Work work) {
    const pid_t pid = fork();
    if (pid == 0) _exit(work());
    return pid;
  }
  static char StateOf(pid_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    std::string text{std::istreambuf_iterator<char>(file), {}};
    return text[text.rfind(')') + 2];
  }
  // Waits until it sleeps in the call.
  static void AwaitSleep(pid_t pid) {
    for (int i = 0; i < 1000 && StateOf(pid) != 'S' && StateOf(pid) != 'D'; ++i) {
      std::this_thread::sleep_for(milliseconds(2));
    }
    std::this_thread::sleep_for(milliseconds(20));
  }
  // Its wait status; -1 when it does not end in time.
  static int EndOf(pid_t pid, milliseconds patience) {
    int status = 0;
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (std::chrono::steady_clock::now() < deadline) {
      if (waitpid(pid, &status, WNOHANG) == pid) return status;
      std::this_thread::sleep_for(milliseconds(2));
    }
    return -1;
  }
};

TEST_F(OrphanedFrontend, ServesWhatIsCached) {
  KillBroker();
  std::this_thread::sleep_for(milliseconds(50));
  for (int i = 0; i < 3; ++i) EXPECT_EQ("hello world", ReadAll(Path("a")));
  const UniqueFd file(open(Path("a").c_str(), O_RDONLY | O_DIRECT));
  char bytes[11];
  EXPECT_EQ(11, pread(file.get(), bytes, 11, 0));
  struct stat st;
  EXPECT_EQ(0, stat(Path("a").c_str(), &st));
  DIR* directory = opendir(path_.c_str());
  ASSERT_NE(nullptr, directory);
  std::set<std::string> names;
  while (const dirent* entry = readdir(directory)) names.insert(entry->d_name);
  closedir(directory);
  EXPECT_EQ((std::set<std::string>{".", "..", "a"}), names);
  EXPECT_EQ(0, kill(pid_, 0));
}

TEST_F(OrphanedFrontend, WhoWaitsCanBeKilled) {
  KillBroker();
  const pid_t client = Client([this] {
    struct stat st;
    return stat(Path("unknown").c_str(), &st) == 0 ? 0 : errno;
  });
  AwaitSleep(client);
  EXPECT_EQ(-1, EndOf(client, milliseconds(200)));
  kill(client, SIGKILL);  // a new broker may still come soon
  const int status = EndOf(client, milliseconds(1500));
  EXPECT_TRUE(status != -1 && WIFSIGNALED(status)) << status;
}

TEST_F(OrphanedFrontend, WhoWaitsForAChangeCanBeKilledToo) {
  KillBroker();
  const auto opener = [this] { return open(Path("a").c_str(), O_RDWR) >= 0 ? 0 : errno; };
  const pid_t early = Client(opener);
  const pid_t late = Client(opener);
  AwaitSleep(early);
  AwaitSleep(late);
  kill(early, SIGKILL);  // a new broker may still come soon
  int status = EndOf(early, milliseconds(1500));
  EXPECT_TRUE(status != -1 && WIFSIGNALED(status)) << status;
  const auto begin = std::chrono::steady_clock::now();
  kill(late, SIGKILL);
  status = EndOf(late, seconds(1));
  EXPECT_TRUE(status != -1 && WIFSIGNALED(status)) << status;
  EXPECT_LT(std::chrono::steady_clock::now() - begin, milliseconds(300));

  // The calls are still made, and what they bring is given back.
  std::atomic<int> opened{0};
  broker_->OnCall([&](const shm::Call& call, shm::RequestReply* reply) {
    if (static_cast<shm::Op>(call.args.op) == shm::Op::kOpen) {
      reply->open_mode = shm::kOpenDirect;
      ++opened;
    } else {
      reply->error = ENOENT;
    }
    return true;
  });
  Succeed();
  const auto released = [&] {
    std::vector<uint64_t> inodes;
    for (const auto& item : broker_->Items()) {
      if (item.op == shm::QueueOp::kRelease) inodes.push_back(item.inode);
    }
    return inodes;
  };
  for (int i = 0; i < 500 && released().size() < 2; ++i) {
    std::this_thread::sleep_for(milliseconds(2));
  }
  EXPECT_EQ(2, opened);
  EXPECT_EQ((std::vector<uint64_t>{10, 10}), released());
}

TEST_F(OrphanedFrontend, EndsWithTheMount) {
  KillBroker();
  ASSERT_EQ(0, umount2(path_.c_str(), 0));
  mounted_ = false;
  device_.reset();
  EXPECT_EQ(volume::kExitUnmounted, ExitStatus());
}

TEST_F(OrphanedFrontend, TheNextBrokerAnswersWhatWaits) {
  const UniqueFd open_before(open(Path("a").c_str(), O_RDONLY | O_DIRECT));
  KillBroker();
  auto waiting = std::async(std::launch::async, [this] {
    struct stat st;
    return stat(Path("b").c_str(), &st) == 0 ? 0 : errno;
  });
  EXPECT_EQ(std::future_status::timeout, waiting.wait_for(milliseconds(100)));
  broker_->OnCall(nullptr);
  Succeed();
  EXPECT_EQ(ENOENT, waiting.get());
  // From the dead broker's slab, through the new tables; then from a slab of the new one.
  char bytes[16];
  EXPECT_EQ(11, pread(open_before.get(), bytes, sizeof(bytes), 0));
  EXPECT_EQ("hello world", std::string(bytes, 11));
  broker_->AddFile(11, shm::kRootInode, "c");
  broker_->SetContent(11, "new content");
  EXPECT_EQ("new content", ReadAll(Path("c")));
  broker_->Do([this] { EXPECT_EQ(2u, broker_->slabs().segments().size()); });
  // What the new broker says of old inodes is seen: the tables are the new ones.
  broker_->Change(10, [](shm::InodeRecord* record) { record->mode = S_IFREG | 0600; });
  const UniqueFd other(open(Path("a").c_str(), O_RDONLY));
  EXPECT_TRUE(other);
}

TEST_F(OrphanedFrontend, OutlivesManyBrokers) {
  for (int i = 0; i < 20; ++i) {
    KillBroker();
    Succeed();
    if (HasFatalFailure()) return;
    const std::string name = "f" + std::to_string(i);
    broker_->AddFile(100 + static_cast<uint64_t>(i), shm::kRootInode, name);
    broker_->SetContent(100 + static_cast<uint64_t>(i), "content of " + name);
    EXPECT_EQ("content of " + name, ReadAll(Path(name)));
    EXPECT_EQ("hello world", ReadAll(Path("a")));
  }
  // What no broker needs any more is closed: a descriptor for each slab, and a few.
  size_t descriptors = 0;
  for ([[maybe_unused]] const auto& entry :
       std::filesystem::directory_iterator("/proc/" + std::to_string(pid_) + "/fd")) {
    ++descriptors;
  }
  EXPECT_LE(descriptors, 40u);
}

TEST_F(OrphanedFrontend, ReadersNoticeNothingOfTheChange) {
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::atomic<int> reads{0};
  std::thread reader([&] {
    const UniqueFd file(open(Path("a").c_str(), O_RDONLY));
    while (!stop) {
      char bytes[16];
      posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
      struct stat st;
      if (pread(file.get(), bytes, sizeof(bytes), 0) != 11) ++wrong;
      if (stat(Path("a").c_str(), &st) != 0 || st.st_ino != 10) ++wrong;
      ++reads;
    }
  });
  for (int i = 0; i < 10; ++i) {
    KillBroker();
    Succeed();
    std::this_thread::sleep_for(milliseconds(20));
  }
  stop = true;
  reader.join();
  EXPECT_EQ(0, wrong);
  EXPECT_GT(reads, 100);
}

TEST_F(OrphanedFrontend, TellsWhoItIs) {
  const UniqueFd connection = Connect();
  ucred peer{};
  socklen_t bytes = sizeof(peer);
  ASSERT_EQ(0, getsockopt(connection.get(), SOL_SOCKET, SO_PEERCRED, &peer, &bytes));
  EXPECT_EQ(pid_, peer.pid);
  const auto hello = shm::ReceiveHello(connection.get());
  ASSERT_TRUE(hello) << hello.error().ToString();
  EXPECT_EQ(shm::kAbiMajor, hello->message.abi_major);
  EXPECT_EQ(7, hello->message.session[0]);
  EXPECT_EQ(1u, hello->message.id);
  EXPECT_EQ(2u, hello->fds.size());
}

class Refusal : public OrphanedFrontend {
 protected:
  // Asks to attach with what is given; what the frontend says.
  std::string Ask(int connection, const shm::ChannelMessage& message, std::vector<int> fds) {
    if (!shm::ReceiveHello(connection) || !shm::ReceiveMessage(connection)) return "no greeting";
    if (fds.empty()) {  // as another build would: SendMessage writes this one's version
      EXPECT_EQ(ssize_t{sizeof(message)}, send(connection, &message, sizeof(message), 0));
    } else {
      EXPECT_TRUE(shm::SendMessage(connection, message, fds));
    }
    const auto answer = shm::ReceiveMessage(connection);
    if (!answer) return answer.error().ToString();
    EXPECT_EQ(static_cast<uint32_t>(shm::ChannelKind::kFailed), answer->message.kind);
    return {answer->message.text, answer->message.text_bytes};
  }
  static shm::ChannelMessage Reattach() {
    shm::ChannelMessage message{};
    message.kind = static_cast<uint32_t>(shm::ChannelKind::kReattach);
    message.abi_major = shm::kAbiMajor;
    message.abi_minor = shm::kAbiMinor;
    return message;
  }
};

TEST_F(Refusal, OfASecondBroker) {
  const UniqueFd connection = Connect();
  const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  EXPECT_EQ("another broker serves this mount", Ask(connection.get(), Reattach(), {null, null}));
  close(null);
  broker_->AddFile(11, shm::kRootInode, "c");
  EXPECT_EQ(0, access(Path("c").c_str(), F_OK));
}

TEST_F(Refusal, OfAnotherVersionNamesBoth) {
  KillBroker();
  shm::ChannelMessage message = Reattach();
  message.abi_minor = shm::kAbiMinor + 7;
  std::string text = Ask(Connect().get(), message, {});
  const std::string ours = std::to_string(shm::kAbiMajor) + "." + std::to_string(shm::kAbiMinor);
  const std::string theirs =
      std::to_string(shm::kAbiMajor) + "." + std::to_string(shm::kAbiMinor + 7);
  EXPECT_NE(std::string::npos, text.find(ours)) << text;
  EXPECT_NE(std::string::npos, text.find(theirs)) << text;
  message.abi_major = 99;
  text = Ask(Connect().get(), message, {});
  EXPECT_NE(std::string::npos, text.find("99")) << text;
  EXPECT_NE(std::string::npos, text.find(std::to_string(shm::kAbiMajor))) << text;
  Succeed();
}

TEST_F(Refusal, OfTablesThatAreNone) {
  KillBroker();
  const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  EXPECT_NE("", Ask(Connect().get(), Reattach(), {null, null}));
  close(null);
  const auto small = shm::MetaWriter::Create(broker_->session(), {16, 16, 16});
  const auto fd = (*small)->segment().OpenReadOnly();
  const std::string text = Ask(Connect().get(), Reattach(), {fd->get(), fd->get()});
  EXPECT_NE(std::string::npos, text.find("geometry")) << text;
  EXPECT_EQ("hello world", ReadAll(Path("a")));
  Succeed();
}

}  // namespace
}  // namespace airstore::testing
