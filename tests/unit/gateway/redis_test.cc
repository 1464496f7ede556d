// SPDX-License-Identifier: Apache-2.0
//
// The Redis engine where it differs from others: several gateways on one server, the death of the
// server, what is asked of a server, and its view of maps against a model. That it means the same
// as SQLite is what gateway_test says, run with AIRSTORE_TEST_ENGINE=redis.
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <thread>

#include "tests/e2e/support/stores.h"
#include "tests/unit/gateway/redis_bench.h"
#include "tools/gateway/meta/redis/redis_view.h"
#include "tools/gateway/shared/redis_bulletin.h"
#include "tools/gateway/shared/redis_locks.h"
#include "tools/gateway/shared/redis_sessions.h"

namespace airstore::gateway {
namespace {

class Redis : public testing::Test {
 protected:
  RedisOptions Options() const {
    RedisOptions options;
    options.socket = server->socket();
    return options;
  }
  std::unique_ptr<RedisStore> Open() {
    auto store = RedisStore::Open(Options());
    EXPECT_TRUE(store) << store.error().ToString();
    return std::move(*store);
  }
  void Start(const e2e::Arguments& extra = {}) {
    server.reset();
    server = std::make_unique<e2e::RedisServer>(directory.path() + "/redis", extra);
  }
  void SetUp() override { Start(); }

  TempDirectory directory;
  std::unique_ptr<e2e::RedisServer> server;
};

TEST_F(Redis, AWriterThatWasOvertakenChangesNothing) {
  auto one = Open(), two = Open();
  const WorkspaceKey ws = Make(*one, {});
  auto slow = std::move(*one->Write());
  EXPECT_FALSE(slow->GetEntry(ws, kRootInode, "name"));
  {
    auto quick = std::move(*two->Write());
    EXPECT_FALSE(quick->GetEntry(ws, kRootInode, "name"));
    quick->PutEntry(ws, kRootInode, "name", 7);
    ASSERT_TRUE(quick->Commit());
  }
  slow->PutEntry(ws, kRootInode, "name", 8);
  slow->PutXattr(ws, 5'000'000, "user.a", "value");
  const auto done = slow->Commit();
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, kStoreConflict);
  EXPECT_EQ(slow->status().error().code, kStoreConflict) << "it sticks";
  slow.reset();
  auto reader = std::move(*one->Read());
  EXPECT_EQ(reader->GetEntry(ws, kRootInode, "name"), InodeNo{7});
  EXPECT_FALSE(reader->GetXattr(ws, 5'000'000, "user.a"));
  EXPECT_TRUE(reader->status());
}

TEST_F(Redis, OneWhoWasPausedForLongIsNoDifferentFromOneWhoWasOvertaken) {
  auto one = Open(), two = Open();
  const WorkspaceKey ws = Make(*one, {Session(1), Session(2)});
  const LeaseRecord lease{5, ws, kRootInode, Session(1)};
  {
    auto txn = std::move(*one->Write());
    txn->PutLease(lease);
    ASSERT_TRUE(txn->Commit());
  }
  // A gateway looks at the lease, and is stopped; another one takes the lease away.
  auto paused = std::move(*one->Write());
  ASSERT_EQ(paused->ListLeases(ws).size(), 1u);
  paused->PutEntry(ws, kRootInode, "late", 9);
  {
    auto txn = std::move(*two->Write());
    txn->DeleteLease(lease);
    ASSERT_TRUE(txn->Commit());
  }
  EXPECT_EQ(paused->Commit().error().code, kStoreConflict);
  paused.reset();
  EXPECT_FALSE((*two->Read())->GetEntry(ws, kRootInode, "late"));
}

TEST_F(Redis, GatewaysThatShareNothingAreStopped) {
  auto connection = std::move(*RedisConnection::Open(Options()));
  RedisKeys keys("airstore");
  ASSERT_TRUE(connection->Call(RedisCommand{"SET", keys.Schema(), "1"}));
  ASSERT_TRUE(connection->Call(RedisCommand{"SET", keys.Owner(), "4"}));
  for (int i = 0; i < 2; ++i) {
    auto store = Open();
    EXPECT_EQ(connection->Call(RedisCommand{"GET", keys.Schema()})->text, "4");
    EXPECT_EQ(connection->Call(RedisCommand{"GET", keys.Owner()})->text, "5") << "once";
  }
}

TEST_F(Redis, GatewaysWithOtherGuardsAreNotJoined) {
  auto connection = std::move(*RedisConnection::Open(Options()));
  RedisKeys keys("airstore");
  ASSERT_TRUE(connection->Call(RedisCommand{"SET", keys.Schema(), "2"}));
  auto time = connection->Call(RedisCommand{"TIME"});
  ASSERT_TRUE(time);
  const int64_t now_ms = std::stoll(time->items[0].text) * 1000;
  const auto beat = [&](int64_t ms) {
    ASSERT_TRUE(connection->Call(RedisCommand{"HSET", keys.Beat(), "beat", std::to_string(ms)}));
  };
  beat(now_ms - 1000);
  EXPECT_EQ(RedisStore::Open(Options()).error().code, EBUSY);
  EXPECT_EQ(connection->Call(RedisCommand{"GET", keys.Schema()})->text, "2");
  beat(now_ms - 60'000);
  EXPECT_TRUE(RedisStore::Open(Options()));
  EXPECT_EQ(connection->Call(RedisCommand{"GET", keys.Schema()})->text, "4");
}

// Each is given a range of numbers of its own, and works in a directory of its own.
TEST_F(Redis, HostsInDifferentDirectoriesSeldomMeet) {
  const RedisKeys keys("p");
  std::set<std::string> guards;
  for (InodeNo host = 0; host < 8; ++host) {
    guards.insert(keys.InodeGuard(1, 2 + host * kInodesPerGrant));
    guards.insert(keys.InodeGuard(1, 2 + host * kInodesPerGrant + 5000));
  }
  EXPECT_GT(guards.size(), 13u);
}

TEST_F(Redis, AReaderSeesOneMomentOrIsTold) {
  auto one = Open(), two = Open();
  const WorkspaceKey ws = Make(*one, {});
  auto reader = std::move(*one->Read());
  EXPECT_TRUE(reader->ListEntries(ws, kRootInode, "", 10).empty());
  EXPECT_TRUE(reader->GetInode(ws, kRootInode));
  EXPECT_TRUE(reader->status()) << "nobody was there";
  {
    auto txn = std::move(*two->Write());
    txn->PutEntry(ws, kRootInode, "name", 7);
    ASSERT_TRUE(txn->Commit());
  }
  (void)reader->GetEntry(ws, kRootInode, "name");
  EXPECT_EQ(reader->status().error().code, kStoreConflict);
  // Elsewhere is elsewhere: the guards of other inodes have not moved.
  reader = std::move(*one->Read());
  EXPECT_FALSE(reader->GetInode(ws, 100'000));
  EXPECT_FALSE(reader->GetEntry(ws, 100'000, "name"));
  {
    auto txn = std::move(*two->Write());
    txn->PutEntry(ws, kRootInode, "other", 8);
    ASSERT_TRUE(txn->Commit());
  }
  EXPECT_TRUE(reader->status());
}

TEST_F(Redis, ManyGatewaysChangeOneDirectoryAndNothingIsLostOrDoneTwice) {
  constexpr int kGateways = 3;
  constexpr uint64_t kBatches = 40;
  WorkspaceKey ws = 0;
  {
    auto store = Open();
    ws = Make(*store, {Session(1), Session(2), Session(3)});
  }
  std::vector<std::thread> threads;
  std::atomic<int> failed{0};
  for (int g = 1; g <= kGateways; ++g) {
    threads.emplace_back([&, g] {
      OneGateway gateway(Open(), directory.path() + "/blocks" + std::to_string(g));
      for (uint64_t i = 1; i <= kBatches; ++i) {
        const std::string own = "own-" + std::to_string(g) + "-" + std::to_string(i);
        const std::string all = "all-" + std::to_string(i);
        const auto base = static_cast<InodeNo>(g) * 100'000 + 2 * i;
        const auto result = gateway.batches.Apply(
            Session(g),
            {Create(2 * i - 1, kRootInode, own, base), Create(2 * i, kRootInode, all, base + 1)},
            false);
        if (result.refusal != BatchResult::Refusal::kNone || result.outcomes[0].error != 0) {
          ++failed;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failed, 0);
  auto store = Open();
  auto reader = std::move(*store->Read());
  // Of each common name one was made; of each own one, too.
  EXPECT_EQ(reader->ListEntries(ws, kRootInode, "", 10'000).size(), kBatches * (kGateways + 1));
  EXPECT_EQ(reader->GetWorkspace(ws)->inodes, 1 + kBatches * (kGateways + 1));
  // A name more is a version more.
  EXPECT_EQ(reader->GetInode(ws, kRootInode)->version, 1 + kBatches * (kGateways + 1));
  EXPECT_TRUE(reader->status());
}

TEST_F(Redis, ABatchHappensOnceWhateverDies) {
  WorkspaceKey ws = 0;
  {
    auto store = Open();
    ws = Make(*store, {Session(1)});
  }
  auto gateway = std::make_unique<OneGateway>(Open(), directory.path() + "/blocks");
  std::mt19937 random(1);
  int deaths = 0;
  constexpr uint64_t kRounds = 25;
  for (uint64_t i = 1; i <= kRounds; ++i) {
    std::atomic<bool> acknowledged{false};
    std::thread killer([&, delay = random() % 1500] {
      std::this_thread::sleep_for(std::chrono::microseconds(delay));
      server->Kill();
    });
    const std::string name = "n" + std::to_string(i);
    const std::vector<Mutation> batch = {Create(i, kRootInode, name, 1000 + i)};
    auto result = gateway->batches.Apply(Session(1), batch, false);
    acknowledged = result.refusal == BatchResult::Refusal::kNone;
    killer.join();
    if (!acknowledged) ++deaths;
    server->Start();
    // Another gateway is asked the next time, as brokers do.
    gateway = std::make_unique<OneGateway>(Open(), directory.path() + "/blocks");
    if (acknowledged) {
      EXPECT_TRUE((*gateway->store->Read())->GetEntry(ws, kRootInode, name)) << "lost";
    }
    result = gateway->batches.Apply(Session(1), batch, false);
    ASSERT_EQ(result.refusal, BatchResult::Refusal::kNone) << result.error.ToString();
    ASSERT_EQ(result.outcomes.size(), 1u);
    EXPECT_EQ(result.outcomes[0].error, 0) << "EEXIST: it was done twice";
  }
  EXPECT_GT(deaths, 0) << "no death hit";
  auto reader = std::move(*gateway->store->Read());
  EXPECT_EQ(reader->GetInode(ws, kRootInode)->version, 1 + kRounds);
  EXPECT_EQ(reader->GetWorkspace(ws)->inodes, 1 + kRounds);
}

// Before the server; it can take the answer to an EXEC away, and the connection with it.
class Cutter {
 public:
  Cutter(const std::string& at, const std::string& server) : server_(server) {
    sockaddr_un address = Address(at);
    listener_ = UniqueFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(listen(listener_.get(), 16), 0);
    threads_.emplace_back([this] { Accept(); });
  }
  ~Cutter() {
    shutdown(listener_.get(), SHUT_RDWR);
    threads_.front().join();
    for (size_t i = 1; i < threads_.size(); ++i) threads_[i].join();
  }
  std::atomic<bool> cut{false};

 private:
  static sockaddr_un Address(const std::string& path) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    return address;
  }
  void Accept() {
    while (true) {
      UniqueFd client(accept(listener_.get(), nullptr, nullptr));
      if (!client) return;
      UniqueFd server(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
      sockaddr_un address = Address(server_);
      EXPECT_EQ(connect(server.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
      threads_.emplace_back(
          [this, c = std::move(client), s = std::move(server)] { Serve(c.get(), s.get()); });
    }
  }
  void Serve(int client, int server) {
    char buffer[65536];
    bool cutting = false;
    while (true) {
      pollfd ends[] = {{client, POLLIN, 0}, {server, POLLIN, 0}};
      if (poll(ends, 2, -1) < 0) return;
      const bool asked = ends[0].revents != 0;
      const ssize_t n = read(asked ? client : server, buffer, sizeof buffer);
      if (n <= 0) return;
      const std::string_view bytes(buffer, static_cast<size_t>(n));
      if (!asked && cutting) return;
      if (asked && bytes.find("EXEC") != bytes.npos && cut.exchange(false)) cutting = true;
      if (write(asked ? server : client, bytes.data(), bytes.size()) != n) return;
    }
  }

  const std::string server_;
  UniqueFd listener_;
  std::vector<std::thread> threads_;
};

// Of a call without numbers: whether it was done is not known, so what it refers to must stay.
TEST_F(Redis, AChangeWhoseAnswerIsLostKeepsItsContent) {
  auto direct = Open();
  const WorkspaceKey ws = Make(*direct, {});
  Cutter cutter(directory.path() + "/cut.sock", server->socket());
  RedisOptions options = Options();
  options.socket = directory.path() + "/cut.sock";
  OneGateway gateway(std::move(*RedisStore::Open(options)), directory.path() + "/blocks");
  const auto change = [&](std::string_view name, InodeNo ino) {
    WriteOp content;
    content.extents = {{0, 4, std::string_view("data")}};
    return gateway.batches.Change(ws, Session(9), content, [&](Changer& tree, WriteOp& write) {
      CreateOp create;
      create.parent = kRootInode;
      create.name = name;
      create.ino = ino;
      create.mode = S_IFREG | 0644;
      if (const int error = tree.Run(create); error != 0) return error;
      write.ino = ino;
      return tree.Run(write);
    });
  };
  ASSERT_TRUE(change("known", 100));
  cutter.cut = true;
  EXPECT_FALSE(change("unknown", 101)) << "the answer was not lost";
  ASSERT_TRUE((*direct->Read())->GetEntry(ws, kRootInode, "unknown")) << "it was not done";
  for (const InodeNo ino : {100, 101}) {
    auto read = FetchContent(*direct, gateway.blocks, ws, ino, {{0, 4}});
    ASSERT_TRUE(read) << read.error().ToString();
    EXPECT_EQ(read->error, 0);
    ASSERT_EQ(read->pieces.size(), 1u);
    EXPECT_EQ(read->pieces[0].data, "data");
  }
}

// A gateway finds a session silent for too long, is stopped, and the session is back meanwhile.
TEST_F(Redis, WhoeverIsHeardOfMeanwhileKeepsWhatItHas) {
  auto one = Open(), two = Open();
  const WorkspaceKey ws = Make(*one, {Session(1)});
  RedisSessions at_one(*one, std::chrono::seconds(60), {}),
      at_two(*two, std::chrono::seconds(60), {});
  const SessionRecord session = **at_one.Find(Session(1));
  ASSERT_TRUE(at_one.Remember(session));
  ASSERT_TRUE(at_one.Acquire(session, kRootInode, true)->lease);
  auto stopped = std::move(*one->WriteShared());
  ASSERT_TRUE(stopped->HeardMs(ws, Session(1)));
  const auto leases = stopped->ListLeases(ws);
  ASSERT_EQ(leases.size(), 1u);
  stopped->DeleteLease(leases[0]);
  stopped->DeleteLive(ws, Session(1));
  ASSERT_TRUE(*at_two.Find(Session(1)));
  at_two.Touch(Session(1), SteadyNow());
  EXPECT_EQ(stopped->Commit().error().code, kStoreConflict);
  stopped.reset();
  EXPECT_TRUE(at_one.IsLive(Session(1)));
  EXPECT_EQ(at_one.LeasesOf(session)->size(), 1u);
  // If nobody hears of it all of it goes.
  EXPECT_EQ(at_two.Expire(SteadyNow() + std::chrono::hours(1))->size(), 1u);
  EXPECT_FALSE(at_one.IsLive(Session(1)));
  EXPECT_TRUE(at_one.LeasesOf(session)->empty());
  EXPECT_EQ(*at_one.CountLive(), 0u);
}

TEST_F(Redis, AServerThatIsNoMasterAnyMoreIsLeft) {
  auto connection = std::move(*RedisConnection::Open(Options()));
  ASSERT_TRUE(connection->Call(RedisCommand{"SET", "key", "value"}));
  ASSERT_TRUE(connection->Call(RedisCommand{"REPLICAOF", "127.0.0.1", "1"}));
  EXPECT_FALSE(connection->Call(RedisCommand{"SET", "key", "other"}));
  EXPECT_TRUE(connection->broken());
}

TEST_F(Redis, LocksThatAreFoughtForDoNotFillTheServer) {
  Start({"--appendfsync", "no"});
  auto store = Open();
  const WorkspaceKey ws = Make(*store, {Session(1), Session(2)});
  auto bulletin =
      std::move(*RedisBulletin::Open(*store, std::chrono::milliseconds(200), {20, 1 << 20}));
  RedisLocks locks(*store, [&](WorkspaceKey of) { bulletin->Trim(of); });
  std::vector<LockWish> lost;
  for (const int i : {1, 2}) ASSERT_TRUE(*locks.Assert(ws, Session(i), {}, &lost));
  const auto set = [&](int who, LockMode mode) {
    LockWish wish;
    wish.ino = kRootInode;
    wish.lock.owner = {Session(who), "o"};
    wish.lock.mode = mode;
    wish.wait = 1;
    std::optional<LockSpec> conflict;
    return *locks.Set(ws, wish, &conflict);
  };
  ASSERT_EQ(set(1, LockMode::kExclusive), LockAnswer::kDone);
  for (int i = 0; i < 1000; ++i) {
    const int holder = 1 + i % 2, waiter = 3 - holder;
    ASSERT_EQ(set(waiter, LockMode::kExclusive), LockAnswer::kHeld);
    ASSERT_EQ(set(holder, LockMode::kUnlock), LockAnswer::kDone);
    ASSERT_EQ(set(waiter, LockMode::kExclusive), LockAnswer::kDone);
  }
  auto length = store->Call({{"XLEN", store->keys().Log(ws)}});
  ASSERT_TRUE(length);
  EXPECT_LT(length->front().integer, 900);
}

// A master, its replica, and a sentinel that knows when to change them.
class Failover {
 public:
  explicit Failover(const std::string& directory) : directory_(directory) {
    for (int& port : ports_) port = FreePort();
    std::filesystem::create_directories(directory);
    StartServer(0, 0);
    StartServer(1, ports_[0]);
    const std::string config = directory + "/sentinel.conf";
    std::ofstream(config) << "port " << ports_[2] << "\nbind 127.0.0.1\ndir " << directory
                          << "\nsentinel monitor mine 127.0.0.1 " << ports_[0]
                          << " 1\nsentinel down-after-milliseconds mine 300\n"
                             "sentinel failover-timeout mine 2000\n";
    sentinel_ = e2e::Process({"redis-server", config, "--sentinel"},
                             {.output_file = directory + "/sentinel.log"});
  }
  // `master`: its port, 0: it is one itself.
  void StartServer(int i, int master) {
    const std::string name = directory_ + "/" + std::to_string(i);
    std::filesystem::create_directories(name);
    e2e::Arguments words = {"redis-server",
                            "--port",
                            std::to_string(ports_[i]),
                            "--bind",
                            "127.0.0.1",
                            "--dir",
                            name,
                            "--appendonly",
                            "yes",
                            "--appendfsync",
                            "always",
                            "--save",
                            "",
                            "--repl-diskless-sync-delay",
                            "0"};
    if (master != 0) {
      words.insert(words.end(), {"--replicaof", "127.0.0.1", std::to_string(master)});
    }
    servers_[i] = e2e::Process(words, {.output_file = name + ".log"});
  }
  void Kill(int i) { servers_[i].Kill(); }
  RedisOptions Of(int i) const {
    RedisOptions options;
    options.port = ports_[i];
    return options;
  }
  RedisOptions Options() const {
    RedisOptions options;
    options.sentinels = {{"127.0.0.1", 1}, {"127.0.0.1", ports_[2]}};  // nobody is at the first
    options.service = "mine";
    return options;
  }
  std::string RoleOf(int i) const {
    auto connection = RedisConnection::Open(Of(i));
    if (!connection) return "away";
    auto role = (*connection)->Call(RedisCommand{"ROLE"});
    return role && !role->items.empty() ? role->items[0].text : "?";
  }
  // Of the replica, as the sentinel knows it: before that nobody can take the master's place.
  bool Ready() const {
    auto connection = RedisConnection::Open(Of(2));
    if (!connection) return false;
    auto known = (*connection)->Call(RedisCommand{"SENTINEL", "replicas", "mine"});
    return known && known->items.size() == 1;
  }

 private:
  static int FreePort() {
    const UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    return ntohs(address.sin_port);
  }

  const std::string directory_;
  int ports_[3] = {};
  e2e::Process servers_[2];
  e2e::Process sentinel_;
};

TEST_F(Redis, AReplicaTakesTheMastersPlaceAndGatewaysFindIt) {
  Failover redis(directory.path() + "/failover");
  ASSERT_TRUE(e2e::WaitUntil(std::chrono::seconds(60), [&] { return redis.Ready(); }));
  auto opened = RedisStore::Open(redis.Options());
  ASSERT_TRUE(opened) << opened.error().ToString();
  EXPECT_NE((*opened)->weakness().find("failover"), std::string::npos);
  const WorkspaceKey ws = Make(**opened, {Session(1)});
  OneGateway gateway(std::move(*opened), directory.path() + "/blocks");
  uint64_t sequence = 0;
  const auto apply = [&] {
    ++sequence;
    const std::string name = "n" + std::to_string(sequence);
    const std::vector<Mutation> batch = {Create(sequence, kRootInode, name, 1000 + sequence)};
    BatchResult result;
    // Brokers send it again until it is answered.
    EXPECT_TRUE(e2e::WaitUntil(std::chrono::seconds(60), [&] {
      result = gateway.batches.Apply(Session(1), batch, false);
      return result.refusal == BatchResult::Refusal::kNone;
    })) << result.error.ToString();
    ASSERT_EQ(result.outcomes.size(), 1u);
    EXPECT_EQ(result.outcomes[0].error, 0) << "EEXIST: it was done twice";
  };
  for (int i = 0; i < 20; ++i) apply();
  // A failover keeps what the replica has.
  auto waited = (*RedisConnection::Open(redis.Of(0)))->Call(RedisCommand{"WAIT", "1", "60000"});
  ASSERT_TRUE(waited);
  ASSERT_EQ(waited->integer, 1);
  redis.Kill(0);
  for (int i = 0; i < 20; ++i) apply();
  EXPECT_EQ(redis.RoleOf(1), "master");
  auto reader = std::move(*gateway.store->Read());
  EXPECT_EQ(reader->ListEntries(ws, kRootInode, "", 1000).size(), sequence);
  EXPECT_EQ(reader->GetInode(ws, kRootInode)->version, 1 + sequence);
  EXPECT_EQ(reader->GetWorkspace(ws)->inodes, 1 + sequence);
}

TEST_F(Redis, ADeletedWorkspaceIsSweptAlsoWhenTheGatewayDiedMeanwhile) {
  auto store = Open();
  const WorkspaceKey ws = Make(*store, {Session(1)});
  const BlockId block = BlockId::From("block----------1");
  {
    auto txn = std::move(*store->Write());
    for (InodeNo ino = 2; ino < 3000; ++ino) {
      Inode inode;
      inode.ino = ino;
      txn->PutInode(ws, inode);
      txn->PutEntry(ws, kRootInode, std::to_string(ino), ino);
    }
    txn->PutBlock(ws, {block, 10, 20, 30, WallClockNs(), false});
    ASSERT_TRUE(txn->Commit());
  }
  auto connection = std::move(*RedisConnection::Open(Options()));
  const RedisKeys& keys = store->keys();
  // As if it had died behind the commit: what the sweep does is undone again.
  {
    auto txn = std::move(*store->Write());
    txn->DeleteWorkspace(ws);
    ASSERT_TRUE(txn->Commit());
  }
  ASSERT_TRUE(connection->Call(RedisCommand{"SET", keys.InodeRow(ws, 77), "left"}));
  {
    auto reader = std::move(*store->Read());
    EXPECT_FALSE(reader->FindWorkspace("one"));
    EXPECT_FALSE(reader->GetSession(Session(1)));
    EXPECT_EQ(reader->ListGarbage(1000, 10), (std::vector<BlockKey>{{ws, block}}));
    EXPECT_FALSE(reader->GetInode(ws, 77)) << "swept";
  }
  {
    auto txn = std::move(*store->Write());
    txn->DeleteBlock(ws, block);
    ASSERT_TRUE(txn->Commit());
    EXPECT_TRUE(txn->ListGarbage(WallClockNs(), 10).empty());
  }
  auto left = connection->Call(RedisCommand{"KEYS", keys.Of(ws, "*")});
  ASSERT_TRUE(left);
  std::string names;
  for (const RedisReply& key : left->items) names += key.text + " ";
  EXPECT_EQ(names, "");
}

TEST_F(Redis, WhatAServerMustBeLike) {
  EXPECT_EQ(Open()->weakness(), "");
  auto connection = std::move(*RedisConnection::Open(Options()));
  const auto set = [&](const std::string& name, const std::string& value) {
    EXPECT_TRUE(connection->Call(RedisCommand{"CONFIG", "SET", name, value}));
  };
  set("appendfsync", "everysec");
  EXPECT_NE(Open()->weakness().find("everysec"), std::string::npos);
  set("appendonly", "no");
  EXPECT_NE(Open()->weakness().find("appendonly no"), std::string::npos);
  set("maxmemory-policy", "allkeys-lru");
  auto refused = RedisStore::Open(Options());
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("allkeys-lru"), std::string::npos);
  set("maxmemory-policy", "noeviction");
  ASSERT_TRUE(connection->Call(RedisCommand{"SET", Open()->keys().Schema(), "99"}));
  refused = RedisStore::Open(Options());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, EPROTO);
  EXPECT_NE(refused.error().message.find("schema 99"), std::string::npos);
}

TEST_F(Redis, AFullServerRefusesWholeCommits) {
  auto store = Open();
  const WorkspaceKey ws = Make(*store, {});
  auto connection = std::move(*RedisConnection::Open(Options()));
  ASSERT_TRUE(connection->Call(RedisCommand{"CONFIG", "SET", "maxmemory", "1"}));
  auto txn = std::move(*store->Write());
  txn->PutEntry(ws, kRootInode, "name", 7);
  EXPECT_FALSE(txn->Commit());
  txn.reset();
  ASSERT_TRUE(connection->Call(RedisCommand{"CONFIG", "SET", "maxmemory", "0"}));
  EXPECT_FALSE((*store->Read())->GetEntry(ws, kRootInode, "name"));
}

TEST_F(Redis, DamagedRowsAreErrors) {
  auto store = Open();
  const WorkspaceKey ws = Make(*store, {});
  auto connection = std::move(*RedisConnection::Open(Options()));
  for (const std::string& row : {std::string(), std::string("\xff\xff"), std::string(40, '\x80')}) {
    ASSERT_TRUE(connection->Call(RedisCommand{"SET", store->keys().InodeRow(ws, 9), row}));
    auto reader = std::move(*store->Read());
    EXPECT_FALSE(reader->GetInode(ws, 9));
    EXPECT_EQ(reader->status().error().code, EIO);
  }
}

TEST_F(Redis, UsersPasswordsAndDatabases) {
  {
    auto connection = std::move(*RedisConnection::Open(Options()));
    ASSERT_TRUE(connection->Call(RedisCommand{"ACL", "SETUSER", "gateway", "on", ">secret",
                                              "~mine:*", "&*", "+@all", "-config"}));
    ASSERT_TRUE(connection->Call(RedisCommand{"ACL", "SETUSER", "default", "off"}));
  }
  RedisOptions options = Options();
  auto store = RedisStore::Open(options);
  ASSERT_FALSE(store);
  EXPECT_NE(store.error().message.find("NOAUTH"), std::string::npos) << store.error().message;
  options.user = "gateway";
  options.password = "wrong";
  store = RedisStore::Open(options);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, EACCES);
  EXPECT_EQ(store.error().message.find("wrong"), std::string::npos) << "never a password";
  options.password = "secret";
  options.prefix = "mine";
  options.database = 3;
  store = RedisStore::Open(options);
  ASSERT_TRUE(store) << store.error().ToString();
  EXPECT_NE((*store)->weakness().find("does not tell"), std::string::npos);
  EXPECT_EQ(Make(**store, {}), 1);
}

TEST_F(Redis, TlsWithItsOwnAuthority) {
  const std::string cert = directory.path() + "/cert.pem", key = directory.path() + "/key.pem";
  e2e::RunOk({"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
              "-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
              "-days", "2", "-keyout", key, "-out", cert});
  // Any port that nobody has.
  int port = 0;
  for (int attempt = 0; port == 0 && attempt < 20; ++attempt) {
    const int wish = 21000 + static_cast<int>(std::random_device{}() % 10000);
    try {
      Start({"--tls-port", std::to_string(wish), "--tls-cert-file", cert, "--tls-key-file", key,
             "--tls-ca-cert-file", cert, "--tls-auth-clients", "yes"});
      port = wish;
    } catch (const std::runtime_error&) {
    }
  }
  ASSERT_NE(port, 0);
  RedisOptions options;
  options.host = "localhost";
  options.port = port;
  options.tls = true;
  options.ca_file = cert;
  EXPECT_FALSE(RedisStore::Open(options)) << "the server wants a certificate";
  options.cert_file = cert;
  options.key_file = key;
  auto store = RedisStore::Open(options);
  ASSERT_TRUE(store) << store.error().ToString();
  EXPECT_GT(Make(**store, {}), 0);
  options.ca_file.clear();
  EXPECT_FALSE(RedisStore::Open(options)) << "not known to the system's authorities";
  options.ca_file = cert;
  options.host = "127.0.0.1";
  EXPECT_FALSE(RedisStore::Open(options)) << "another name than the certificate's";
}

TEST_F(Redis, MapsAreAsAModelSays) {
  RedisPool pool(Options());
  const std::string guard = "{m}guard";
  for (const size_t width : {size_t{0}, size_t{2}}) {
    const RedisMap map{"{m}map" + std::to_string(width), width};
    std::mt19937 random(static_cast<unsigned>(width) + 5);
    const auto field = [&] {
      std::string text(width == 0 ? random() % 3 : width, '\0');
      constexpr char kBytes[] = {'\1', 'a', 'b', '\xff'};
      for (char& c : text) c = kBytes[random() % 4];
      return width == 0 ? text + '\0' : text;
    };
    std::map<std::string, std::string> model;
    for (int round = 0; round < 60; ++round) {
      auto route = std::make_unique<RedisRoute>(pool);
      RedisView view(*route, true);
      auto changed = model;
      for (int step = 0; step < 20; ++step) {
        const std::string at = field();
        switch (random() % 5) {
          case 0:
          case 1:
            changed[at] = std::to_string(random() % 3);
            view.Put(guard, map, at, changed[at]);
            break;
          case 2:
            changed.erase(at);
            view.Erase(guard, map, at);
            break;
          case 3: {
            const auto it = changed.find(at);
            EXPECT_EQ(view.Find(guard, map, at),
                      it == changed.end() ? std::nullopt : std::optional(it->second));
            break;
          }
          default: {
            auto it = changed.lower_bound(at);
            std::optional<std::pair<std::string, std::string>> before;
            if (it != changed.begin()) before = *std::prev(it);
            EXPECT_EQ(view.LastBefore(guard, map, at), before);
            const size_t limit = random() % 4;
            std::vector<std::pair<std::string, std::string>> some;
            for (; it != changed.end() && (limit == 0 || some.size() < limit); ++it) {
              some.push_back(*it);
            }
            EXPECT_EQ(view.List(guard, map, {at, ""}, limit), some);
          }
        }
      }
      if (random() % 4 != 0) {
        ASSERT_TRUE(view.Commit(0, RedisView::Order::kDecidesLast));
        model = changed;
      }
      route = std::make_unique<RedisRoute>(pool);
      RedisView after(*route, false);
      EXPECT_EQ(after.List(guard, map, {}, 0),
                (std::vector<std::pair<std::string, std::string>>(model.begin(), model.end())));
      ASSERT_FALSE(testing::Test::HasFailure());
    }
  }
}

}  // namespace
}  // namespace airstore::gateway
