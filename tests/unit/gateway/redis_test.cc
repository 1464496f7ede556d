// SPDX-License-Identifier: Apache-2.0
//
// The Redis engine where it differs from others: several gateways on one server, the death of the
// server, what is asked of a server, and its view of maps against a model. That it means the same
// as SQLite is what gateway_test says, run with AIRSTORE_TEST_ENGINE=redis.
#include <signal.h>

#include <atomic>
#include <fstream>
#include <random>
#include <thread>

#include "tests/e2e/support/stores.h"
#include "tests/unit/gateway/bench.h"
#include "tools/gateway/meta/redis/redis_store.h"
#include "tools/gateway/meta/redis/redis_view.h"

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

  // A workspace with its root and a session for each of `sessions`.
  WorkspaceKey Make(MetadataStore& store, const std::vector<SessionId>& sessions) {
    auto txn = std::move(*store.Write());
    Workspace workspace;
    workspace.id = "ws_1";
    workspace.name = "one";
    workspace.next_inode = 1'000'000;
    workspace.inodes = 1;
    const WorkspaceKey ws = txn->AddWorkspace(workspace);
    Inode root;
    root.ino = kRootInode;
    root.mode = S_IFDIR | 0755;
    root.nlink = 2;
    txn->PutInode(ws, root);
    for (const SessionId& id : sessions) {
      SessionRecord record;
      record.id = id;
      record.workspace = ws;
      txn->PutSession(record);
    }
    EXPECT_TRUE(txn->Commit());
    return ws;
  }

  TempDirectory directory;
  std::unique_ptr<e2e::RedisServer> server;
};

SessionId Session(int number) {
  SessionId id;
  id.bytes[0] = static_cast<unsigned char>(number);
  return id;
}

// One of several gateways: a store of its own with what lives above it.
struct OneGateway {
  explicit OneGateway(std::unique_ptr<RedisStore> metadata, const std::string& directory)
      : store(std::move(metadata)),
        block_store(std::move(*DirBlockStore::Open(directory))),
        blocks(*block_store, 1 << 20),
        batches(*store, blocks,
                [](WorkspaceKey, const SessionId&, const ChangeSet&) { return uint64_t{1}; }) {}

  std::unique_ptr<RedisStore> store;
  std::unique_ptr<DirBlockStore> block_store;
  Blocks blocks;
  BatchApplier batches;
};

Mutation Create(uint64_t sequence, InodeNo parent, std::string_view name, InodeNo ino) {
  Mutation m;
  m.sequence = sequence;
  m.op = CreateOp{parent, name, ino, S_IFREG | 0644, 0, 0, 0, {}};
  return m;
}

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
    EXPECT_EQ(connection->Call(RedisCommand{"GET", keys.Schema()})->text, "2");
    EXPECT_EQ(connection->Call(RedisCommand{"GET", keys.Owner()})->text, "5") << "once";
  }
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

// The server stops before the commit reaches it, and does it when it goes on; nobody hears of that.
TEST_F(Redis, AChangeWhoseAnswerIsLostKeepsItsContent) {
  WorkspaceKey ws = 0;
  {
    auto store = Open();
    ws = Make(*store, {});
  }
  RedisOptions impatient = Options();
  impatient.timeout = std::chrono::milliseconds(300);
  auto store = RedisStore::Open(impatient);
  ASSERT_TRUE(store) << store.error().ToString();
  OneGateway gateway(std::move(*store), directory.path() + "/blocks");
  const std::string data = "what the row refers to";
  WriteOp content;
  content.extents.push_back({0, data.size(), std::string_view(data)});
  const auto changed =
      gateway.batches.Change(ws, Session(9), content, [&](Changer& changer, WriteOp& write) -> int {
        CreateOp create{kRootInode, "f", 1000, S_IFREG | 0644, 0, 0, 0, {}};
        if (const int error = changer.Run(create); error != 0) return error;
        write.ino = 1000;
        const int error = changer.Run(write);
        server->process().Signal(SIGSTOP);
        return error;
      });
  EXPECT_FALSE(changed) << "the answer came";
  server->process().Signal(SIGCONT);
  OneGateway after(Open(), directory.path() + "/blocks");
  ASSERT_TRUE(e2e::WaitUntil(std::chrono::seconds(20), [&] {
    return (*after.store->Read())->GetEntry(ws, kRootInode, "f").has_value();
  })) << "the commit has not been done";
  const auto fetched = FetchContent(*after.store, after.blocks, ws, 1000, {{0, data.size()}});
  ASSERT_TRUE(fetched);
  EXPECT_EQ(fetched->error, 0);
  ASSERT_EQ(fetched->pieces.size(), 1u);
  EXPECT_EQ(fetched->pieces[0].data, data);
  // What was certainly not done leaves nothing behind.
  size_t blocks = 0;
  EXPECT_EQ(after.batches.Change(ws, Session(9), content, [](Changer&, WriteOp&) { return EEXIST; })
                .error()
                .code,
            EEXIST);
  EXPECT_TRUE(after.block_store->List(INT64_MAX, [&](const BlockKey&) { ++blocks; }));
  EXPECT_EQ(blocks, 1u);
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
  auto connection = std::move(*RedisConnection::Open(Options()));
  for (const size_t width : {size_t{0}, size_t{2}}) {
    const RedisMap map{"map" + std::to_string(width), width};
    std::mt19937 random(static_cast<unsigned>(width) + 5);
    const auto field = [&] {
      std::string text(width == 0 ? random() % 3 : width, '\0');
      constexpr char kBytes[] = {'\1', 'a', 'b', '\xff'};
      for (char& c : text) c = kBytes[random() % 4];
      return width == 0 ? text + '\0' : text;
    };
    std::map<std::string, std::string> model;
    for (int round = 0; round < 60; ++round) {
      RedisView view(*connection, true);
      auto changed = model;
      for (int step = 0; step < 20; ++step) {
        const std::string at = field();
        switch (random() % 5) {
          case 0:
          case 1:
            changed[at] = std::to_string(random() % 3);
            view.Put("guard", map, at, changed[at]);
            break;
          case 2:
            changed.erase(at);
            view.Erase("guard", map, at);
            break;
          case 3: {
            const auto it = changed.find(at);
            EXPECT_EQ(view.Find("guard", map, at),
                      it == changed.end() ? std::nullopt : std::optional(it->second));
            break;
          }
          default: {
            auto it = changed.lower_bound(at);
            std::optional<std::pair<std::string, std::string>> before;
            if (it != changed.begin()) before = *std::prev(it);
            EXPECT_EQ(view.LastBefore("guard", map, at), before);
            const size_t limit = random() % 4;
            std::vector<std::pair<std::string, std::string>> some;
            for (; it != changed.end() && (limit == 0 || some.size() < limit); ++it) {
              some.push_back(*it);
            }
            EXPECT_EQ(view.List("guard", map, {at, ""}, limit), some);
          }
        }
      }
      if (random() % 4 == 0) {
        view.Release();
      } else {
        ASSERT_TRUE(view.Commit());
        model = changed;
      }
      RedisView after(*connection, false);
      EXPECT_EQ(after.List("guard", map, {}, 0),
                (std::vector<std::pair<std::string, std::string>>(model.begin(), model.end())));
      ASSERT_FALSE(testing::Test::HasFailure());
    }
  }
}

}  // namespace
}  // namespace airstore::gateway
