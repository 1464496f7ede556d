// SPDX-License-Identifier: Apache-2.0
//
// The Redis engine on a cluster: workspaces at different servers, slots on their way from one to
// another, the death of a server; and what is not one transaction any more because its keys have
// two hash tags, on one server. That a cluster means the same as SQLite is what gateway_test says,
// run with AIRSTORE_TEST_ENGINE=cluster.
#include <atomic>
#include <set>
#include <thread>

#include "tests/e2e/support/redis_cluster.h"
#include "tests/e2e/support/stores.h"
#include "tests/unit/gateway/redis_bench.h"
#include "tools/gateway/shared/redis_bulletin.h"
#include "tools/gateway/shared/redis_sessions.h"
#include "tools/gateway/store_url.h"

namespace airstore::gateway {
namespace {

TEST(RedisSlots, AreThoseOfTheSpecification) {
  EXPECT_EQ(SlotOf(std::string_view("123456789")), 0x31c3);
  EXPECT_EQ(SlotOf(std::string_view("a{123456789}b{c}")), 0x31c3);
  EXPECT_EQ(SlotOf(std::string_view("foo{}{bar}")), 8363);
  EXPECT_EQ(SlotOf(std::string_view("{user1000}.following")),
            SlotOf(std::string_view("{user1000}.followers")));
  EXPECT_EQ(SlotOf(RedisCommand{"EVAL", "return 1", "1", "{123456789}"}), 0x31c3);
  EXPECT_FALSE(SlotOf(RedisCommand{"PUBLISH", "{123456789}", "news"}));
}

TEST(RedisSlots, AnswersThatMakeNoSenseAreNone) {
  const RedisAddress asked{"asked", 7};
  const auto text = [](const std::string& words) {
    RedisReply reply;
    reply.kind = RedisReply::Kind::kError;
    reply.text = words;
    return reply;
  };
  const auto moved = RedirectionOf(text("MOVED 16383 ::1:7000"), asked);
  ASSERT_TRUE(moved);
  EXPECT_EQ(moved->slot, 16383);
  EXPECT_EQ(moved->to, (RedisAddress{"::1", 7000}));
  EXPECT_EQ(RedirectionOf(text("ASK 1 :7000"), asked)->to, (RedisAddress{"asked", 7000}));
  for (const char* wrong : {"", "MOVED", "MOVED 1", "MOVED x a:1", "MOVED 16384 a:1", "MOVED 1 a:x",
                            "MOVED 70000 a:1", "ERR MOVED 1 a:1"}) {
    EXPECT_FALSE(RedirectionOf(text(wrong), asked)) << wrong;
  }
  const auto number = [](int64_t value) {
    RedisReply reply;
    reply.kind = RedisReply::Kind::kInteger;
    reply.integer = value;
    return reply;
  };
  const auto slots = [&](int64_t first, int64_t last, int64_t port) {
    RedisReply server, range, all;
    server.items = {text("host"), number(port)};
    range.items = {number(first), number(last), server};
    all.items = {range};
    return SlotMap::From(all, asked);
  };
  ASSERT_TRUE(slots(0, 16383, 1));
  EXPECT_EQ(*slots(5, 6, 1)->Owner(6), (RedisAddress{"host", 1}));
  EXPECT_EQ(slots(5, 6, 1)->Owner(7), nullptr);
  EXPECT_FALSE(slots(0, 16384, 1));
  EXPECT_FALSE(slots(-1, 1, 1));
  EXPECT_FALSE(slots(2, 1, 1));
  EXPECT_FALSE(slots(0, 1, 0));
  EXPECT_FALSE(SlotMap::From(RedisReply(), asked));
}

Result<std::unique_ptr<RedisStore>> OpenAt(const std::string& url) {
  auto options = RedisOptionsFrom(std::move(*ParseStoreUrl(url)));
  if (!options) return options.error();
  options->timeout = std::chrono::seconds(5);
  return RedisStore::Open(std::move(*options));
}

class Cluster : public testing::Test {
 protected:
  void Start(int replicas = 0) {
    servers = std::make_unique<e2e::RedisCluster>(directory.path(), 3, replicas);
  }
  std::unique_ptr<RedisStore> Open() {
    auto store = OpenAt(servers->url());
    EXPECT_TRUE(store) << store.error().ToString();
    return std::move(*store);
  }
  std::unique_ptr<OneGateway> NewGateway() {
    return std::make_unique<OneGateway>(Open(), directory.path() + "/blocks");
  }
  static int SlotOfWorkspace(const RedisStore& store, WorkspaceKey ws) {
    return SlotOf(std::string_view(store.keys().WorkspaceRow(ws)));
  }
  // Applies a batch that makes a file, as brokers do: again until it is answered.
  static void Apply(OneGateway& gateway, const SessionId& session, uint64_t sequence,
                    InodeNo first) {
    const std::string name = std::to_string(first) + "-" + std::to_string(sequence);
    const std::vector<Mutation> batch = {Create(sequence, kRootInode, name, first + sequence)};
    BatchResult result;
    EXPECT_TRUE(e2e::WaitUntil(std::chrono::seconds(60), [&] {
      result = gateway.batches.Apply(session, batch, false);
      return result.refusal == BatchResult::Refusal::kNone;
    })) << result.error.ToString();
    ASSERT_EQ(result.outcomes.size(), 1u);
    EXPECT_EQ(result.outcomes[0].error, 0) << "EEXIST: it was done twice";
  }
  static void ExpectFiles(RedisStore& store, WorkspaceKey ws, uint64_t files) {
    const auto looked = UntilNoConflict([&]() -> Result<void> {
      auto reader = std::move(*store.Read());
      const auto entries = reader->ListEntries(ws, kRootInode, "", 100'000);
      const auto root = reader->GetInode(ws, kRootInode);
      const auto workspace = reader->GetWorkspace(ws);
      AIRSTORE_TRY(reader->status());
      EXPECT_EQ(entries.size(), files);
      EXPECT_EQ(root ? root->version : 0, 1 + files);
      EXPECT_EQ(workspace ? workspace->inodes : 0, 1 + files);
      return {};
    });
    EXPECT_TRUE(looked) << looked.error().ToString();
  }

  TempDirectory directory;
  std::unique_ptr<e2e::RedisCluster> servers;
};

TEST_F(Cluster, WorkspacesAreAtDifferentServersAndGatewaysAgree) {
  Start();
  auto one = NewGateway(), two = NewGateway();
  EXPECT_EQ(one->store->identity(), two->store->identity());
  EXPECT_EQ(one->store->weakness(), "");
  std::set<int> owners;
  std::vector<WorkspaceKey> all;
  for (int i = 0; i < 6; ++i) {
    all.push_back(Make(*one->store, {Session(i)}, "w" + std::to_string(i)));
    owners.insert(servers->OwnerOf(SlotOfWorkspace(*one->store, all.back()), 0));
  }
  EXPECT_EQ(owners, (std::set<int>{0, 1, 2}));
  for (uint64_t sequence = 1; sequence <= 10; ++sequence) {
    for (int i = 0; i < 6; ++i) Apply(sequence % 2 ? *one : *two, Session(i), sequence, 1000);
  }
  for (const WorkspaceKey ws : all) ExpectFiles(*one->store, ws, 10);
  EXPECT_EQ((*two->store->Read())->ListWorkspaces().size(), 6u);
  {
    auto txn = std::move(*two->store->Write());
    txn->DeleteWorkspace(all[2]);
    ASSERT_TRUE(txn->Commit());
  }
  EXPECT_EQ((*one->store->Read())->ListWorkspaces().size(), 5u);
  EXPECT_FALSE((*one->store->Read())->GetSession(Session(2)));
  const auto refused = one->batches.Apply(
      Session(2), std::vector<Mutation>{Create(11, kRootInode, "late", 5000)}, false);
  EXPECT_NE(refused.refusal, BatchResult::Refusal::kNone);
  const int owner = servers->OwnerOf(SlotOfWorkspace(*one->store, all[2]), 0);
  EXPECT_EQ(servers->Ask(owner, {"KEYS", one->store->keys().Of(all[2], "*")}), "");
}

TEST_F(Cluster, SessionsExpireAtWhicheverServerTheirWorkspaceIs) {
  Start();
  auto store = Open();
  RedisSessions sessions(*store, std::chrono::seconds(60), {});
  for (int i = 0; i < 3; ++i) {
    Make(*store, {Session(i)}, "w" + std::to_string(i));
    const SessionRecord session = **sessions.Find(Session(i));
    ASSERT_TRUE(sessions.Remember(session));
    ASSERT_TRUE(sessions.Acquire(session, kRootInode, true)->lease);
  }
  EXPECT_EQ(*sessions.CountLive(), 3u);
  EXPECT_EQ(sessions.Expire(SteadyNow())->size(), 0u);
  EXPECT_EQ(sessions.Expire(SteadyNow() + std::chrono::hours(1))->size(), 3u);
  EXPECT_EQ(*sessions.CountLive(), 0u);
  EXPECT_TRUE((*store->Read())->ListLeases(std::nullopt).empty());
}

TEST_F(Cluster, LogsAreReadAlsoWhenNoMessageSaysSo) {
  Start();
  auto store = Open();
  const WorkspaceKey ws = Make(*store, {Session(1)});
  auto bulletin = std::move(*RedisBulletin::Open(*store, std::chrono::seconds(1)));
  ASSERT_TRUE(*bulletin->Begin(ws, Session(1), *bulletin->Cursor(ws)));
  LoggedEvent event;
  event.session = Session(2);
  event.event.lock_freed = 7;
  auto commands = LogCommands(store->keys(), ws, event);
  std::erase_if(commands, [](const RedisCommand& one) { return one.front() == "PUBLISH"; });
  ASSERT_TRUE(store->CallAtOnce(commands));
  const uint64_t last = *bulletin->Cursor(ws);
  EXPECT_TRUE(e2e::WaitUntil(std::chrono::seconds(30),
                             [&] { return bulletin->hub().Followed(ws) == last; }));
}

TEST_F(Cluster, OneOfItsServersIsNotTakenForASingleOne) {
  Start();
  const auto refused = OpenAt("redis://127.0.0.1:" + std::to_string(servers->port(0)));
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("redis+cluster://"), std::string::npos);
}

// Moves a slot in steps, as redis-cli does: the keys of a workspace are at two servers meanwhile.
class Move {
 public:
  Move(e2e::RedisCluster& servers, int slot, int from, int to)
      : servers_(servers), slot_(std::to_string(slot)), from_(from), to_(to) {
    Expect(to_, {"CLUSTER", "SETSLOT", slot_, "IMPORTING", servers_.IdOf(from_)});
    Expect(from_, {"CLUSTER", "SETSLOT", slot_, "MIGRATING", servers_.IdOf(to_)});
  }
  // False: there was nothing left.
  bool Some(int keys) {
    RedisOptions options;
    options.port = servers_.port(from_);
    auto source = std::move(*RedisConnection::Open(options));
    const auto found =
        source->Call(RedisCommand{"CLUSTER", "GETKEYSINSLOT", slot_, std::to_string(keys)});
    if (!found || found->items.empty()) return false;
    RedisCommand migrate = {"MIGRATE", "127.0.0.1", std::to_string(servers_.port(to_)), "", "0",
                            "5000",    "KEYS"};
    for (const RedisReply& key : found->items) migrate.push_back(key.text);
    const auto migrated = source->Call(migrate);
    EXPECT_TRUE(migrated) << migrated.error().ToString();
    return static_cast<bool>(migrated);
  }
  void Finish() {
    while (Some(100)) {
    }
    const std::string id = servers_.IdOf(to_);
    Expect(to_, {"CLUSTER", "SETSLOT", slot_, "NODE", id});
    Expect(from_, {"CLUSTER", "SETSLOT", slot_, "NODE", id});
  }

 private:
  void Expect(int server, const e2e::Arguments& command) {
    EXPECT_EQ(servers_.Ask(server, command), "OK");
  }

  e2e::RedisCluster& servers_;
  const std::string slot_;
  const int from_, to_;
};

TEST_F(Cluster, AWorkspaceMovesToAnotherServerUnderLoad) {
  Start();
  constexpr int kWriters = 2;
  std::vector<std::unique_ptr<OneGateway>> gateways;
  for (int i = 0; i < kWriters; ++i) gateways.push_back(NewGateway());
  RedisStore& store = *gateways[0]->store;
  const WorkspaceKey ws = Make(store, {Session(0), Session(1)});
  for (uint64_t i = 1; i <= 300; ++i) Apply(*gateways[0], Session(0), i, 100'000);
  std::atomic<bool> done{false};
  std::atomic<uint64_t> files{300};
  std::vector<std::thread> writers;
  for (int i = 0; i < kWriters; ++i) {
    writers.emplace_back([&, i] {
      for (uint64_t sequence = i == 0 ? 301 : 1; !done; ++sequence) {
        Apply(*gateways[static_cast<size_t>(i)], Session(i), sequence, i == 0 ? 100'000 : 200'000);
        ++files;
      }
    });
  }
  const int slot = SlotOfWorkspace(store, ws);
  int owner = servers->OwnerOf(slot, 0);
  auto looking = Open();
  for (int round = 0; round < 4; ++round) {
    const int to = (owner + 1) % 3;
    const uint64_t before = files;
    Move move(*servers, slot, owner, to);
    move.Some(100);
    // What is read is what was there, at whichever server each key is.
    const auto reader = std::move(*looking->Read());
    for (uint64_t i = 1; i <= 300; i += 37) {
      const auto inode = reader->GetInode(ws, 100'000 + i);
      EXPECT_TRUE(inode) << reader->status().error().ToString();
    }
    const auto inodes = (*looking->Read())->ListAllInodes(ws);
    EXPECT_GE(inodes.size(), 1 + before);
    move.Finish();
    owner = to;
    EXPECT_TRUE(e2e::WaitUntil(std::chrono::seconds(60), [&] { return files > before + 20; }));
  }
  done = true;
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(servers->OwnerOf(slot, 0), owner);
  ExpectFiles(store, ws, files);
}

TEST_F(Cluster, AReplicaTakesAMastersPlaceAndOthersGoOn) {
  Start(1);
  auto gateway = NewGateway();
  EXPECT_NE(gateway->store->weakness().find("failover"), std::string::npos);
  std::vector<WorkspaceKey> all;
  std::vector<int> owners;
  for (int i = 0; i < 6; ++i) {
    all.push_back(Make(*gateway->store, {Session(i)}, "w" + std::to_string(i)));
    owners.push_back(servers->OwnerOf(SlotOfWorkspace(*gateway->store, all.back()), 0));
  }
  for (uint64_t sequence = 1; sequence <= 20; ++sequence) {
    for (int i = 0; i < 6; ++i) Apply(*gateway, Session(i), sequence, 1000);
  }
  const int lost = owners[0];
  // A failover keeps what the replica has.
  ASSERT_EQ(servers->Ask(lost, {"WAIT", "1", "60000"}), "1");
  servers->Kill(lost);
  for (uint64_t sequence = 21; sequence <= 40; ++sequence) {
    for (int i = 0; i < 6; ++i) {
      if (owners[static_cast<size_t>(i)] != lost) Apply(*gateway, Session(i), sequence, 1000);
    }
  }
  for (uint64_t sequence = 21; sequence <= 40; ++sequence) {
    for (int i = 0; i < 6; ++i) {
      if (owners[static_cast<size_t>(i)] == lost) Apply(*gateway, Session(i), sequence, 1000);
    }
  }
  for (const WorkspaceKey ws : all) ExpectFiles(*gateway->store, ws, 40);
  const int by = (lost + 1) % 3;
  EXPECT_GE(servers->OwnerOf(SlotOfWorkspace(*gateway->store, all[0]), by), 3) << "a replica";
  EXPECT_TRUE(OpenAt("redis+cluster://127.0.0.1:" + std::to_string(servers->port(lost)) +
                     ",127.0.0.1:" + std::to_string(servers->port(by))));
}

// ---- On one server: what is two MULTIs, and a gateway that dies in between.

class Halves : public testing::Test {
 protected:
  std::unique_ptr<RedisStore> Open() { return std::move(*OpenAt(server.url())); }
  size_t KeysOf(RedisStore& store, WorkspaceKey ws) {
    return (*store.Call({{"KEYS", store.keys().Of(ws, "*")}}))[0].items.size();
  }

  TempDirectory directory;
  e2e::RedisServer server{directory.path()};
};

TEST_F(Halves, AWorkspaceThatWasNeverNamedIsSwept) {
  auto one = Open(), two = Open();
  const RedisKeys& keys = one->keys();
  Workspace workspace;
  workspace.id = "ws_slow";
  workspace.name = "slow";
  auto slow = std::move(*one->Write());
  EXPECT_FALSE(slow->FindWorkspace("slow"));
  const WorkspaceKey ws = slow->AddWorkspace(workspace);
  Make(*two, {}, "other");
  EXPECT_EQ(slow->Commit().error().code, kStoreConflict) << "names have changed";
  slow.reset();
  EXPECT_GT(KeysOf(*one, ws), 0u) << "its rows are there, as if it had died before the name";
  EXPECT_FALSE((*one->Read())->FindWorkspace("slow"));
  EXPECT_TRUE((*one->Read())->ListGarbage(WallClockNs(), 10).empty());
  EXPECT_GT(KeysOf(*one, ws), 0u) << "it may be that it is only slow";
  // As if that were long ago.
  const std::string field = BigEndian(static_cast<uint64_t>(ws));
  ASSERT_TRUE(one->Call(
      {{"DEL", keys.Dying().key}, {"ZADD", keys.Dying().key, "0", field + BigEndian(1)}}));
  EXPECT_TRUE((*two->Read())->ListGarbage(WallClockNs(), 10).empty());
  EXPECT_EQ(KeysOf(*one, ws), 0u);
  EXPECT_EQ((*one->Call({{"ZCARD", keys.Dying().key}}))[0].integer, 0);
}

TEST_F(Halves, WhoIsTakenForDeadNamesNothing) {
  auto one = Open(), two = Open();
  const RedisKeys& keys = one->keys();
  Workspace workspace;
  workspace.id = "ws_slow";
  workspace.name = "slow";
  auto slow = std::move(*one->Write());
  const WorkspaceKey ws = slow->AddWorkspace(workspace);
  const std::string field = BigEndian(static_cast<uint64_t>(ws));
  const auto members = one->Call({{"ZRANGEBYLEX", keys.Dying().key, "-", "+"}});
  ASSERT_EQ(members->front().items.size(), 1u);
  ASSERT_TRUE(one->Call(
      {{"DEL", keys.Dying().key}, {"ZADD", keys.Dying().key, "0", field + BigEndian(1)}}));
  EXPECT_TRUE((*two->Read())->ListGarbage(WallClockNs(), 10).empty());
  EXPECT_EQ(slow->Commit().error().code, kStoreConflict);
  slow.reset();
  EXPECT_FALSE((*one->Read())->FindWorkspace("slow"));
}

TEST_F(Halves, AWorkspaceWithoutANameIsNotWrittenTo) {
  OneGateway gateway(Open(), directory.path() + "/blocks");
  RedisStore& store = *gateway.store;
  const WorkspaceKey ws = Make(store, {Session(1)});
  const RedisKeys& keys = store.keys();
  // Of a deletion, the first half.
  const std::string field = BigEndian(static_cast<uint64_t>(ws));
  ASSERT_TRUE(store.Call({{"UNLINK", keys.ByName("one"), keys.ById("ws_one")},
                          {"ZREM", keys.Workspaces().key, field + "one"},
                          {"ZADD", keys.Dying().key, "0", field},
                          {"INCR", keys.CommonGuard()}}));
  EXPECT_TRUE((*store.Read())->ListGarbage(WallClockNs(), 10).empty());
  const auto refused = gateway.batches.Apply(
      Session(1), std::vector<Mutation>{Create(1, kRootInode, "late", 5000)}, false);
  EXPECT_NE(refused.refusal, BatchResult::Refusal::kNone);
  EXPECT_EQ(KeysOf(store, ws), 0u);
}

TEST_F(Halves, ASessionWithoutItsPlaceIsOpenedAgain) {
  auto one = Open();
  const WorkspaceKey ws = Make(*one, {Session(1)});
  ASSERT_TRUE(one->Call({{"UNLINK", one->keys().WorkspaceOf(Session(1))}}));
  auto two = Open();
  EXPECT_FALSE((*two->Read())->GetSession(Session(1)));
  SessionRecord session;
  session.id = Session(1);
  session.workspace = ws;
  {
    auto txn = std::move(*two->Write());
    EXPECT_FALSE(txn->GetSession(Session(1)));
    txn->PutSession(session);
    EXPECT_EQ(txn->Commit().error().code, kStoreConflict) << "it has a row, which is not read yet";
  }
  EXPECT_TRUE((*Open()->Read())->GetSession(Session(1)));
  {
    auto txn = std::move(*two->Write());
    ASSERT_TRUE(txn->GetSession(Session(1)));
    txn->PutSession(session);
    ASSERT_TRUE(txn->Commit());
  }
  {
    auto txn = std::move(*two->Write());
    txn->DeleteSession(Session(1));
    ASSERT_TRUE(txn->Commit());
  }
  EXPECT_FALSE((*one->Read())->GetSession(Session(1)));
  EXPECT_EQ((*one->Call({{"EXISTS", one->keys().WorkspaceOf(Session(1))}}))[0].integer, 0);
}

TEST_F(Halves, SignsOfLifeOfSchema3AreMoved) {
  WorkspaceKey ws = 0;
  {
    auto store = Open();
    ws = Make(*store, {Session(1)});
    RedisSessions sessions(*store, std::chrono::seconds(60), {});
    ASSERT_TRUE(sessions.Remember(**sessions.Find(Session(1))));
    const RedisKeys& keys = store->keys();
    const std::string old = keys.Common("heard");
    const std::string member =
        BigEndian(static_cast<uint64_t>(ws)) + std::string(Session(1).view());
    ASSERT_TRUE(store->Call({{"UNLINK", keys.Heard(ws)},
                             {"UNLINK", keys.Living(), keys.Beat()},
                             {"ZADD", old, "1000", member},
                             {"SET", keys.Schema(), "3"}}));
  }
  auto store = Open();
  const RedisKeys& keys = store->keys();
  EXPECT_EQ((*store->Call({{"GET", keys.Schema()}}))[0].text, "4");
  EXPECT_EQ((*store->Call({{"EXISTS", keys.Common("heard")}}))[0].integer, 0);
  RedisSessions sessions(*store, std::chrono::seconds(60), {});
  EXPECT_TRUE(sessions.IsLive(Session(1)));
  EXPECT_EQ(*sessions.CountLive(), 1u);
  EXPECT_EQ(sessions.Expire(SteadyNow())->size(), 0u) << "no gateway was at work";
  EXPECT_EQ(sessions.Expire(SteadyNow() + std::chrono::hours(1))->size(), 1u);
  EXPECT_FALSE(sessions.IsLive(Session(1)));
}

}  // namespace
}  // namespace airstore::gateway
