// SPDX-License-Identifier: Apache-2.0
//
// Three gateways on one Redis, each with its own server: what one of them does the others know, and
// nothing is lost or done twice when one ends, or when Redis does.
#include <algorithm>
#include <array>
#include <atomic>
#include <fstream>
#include <future>
#include <iostream>
#include <mutex>
#include <random>
#include <set>
#include <thread>

#include "tests/e2e/support/stores.h"
#include "tests/unit/gateway/bench.h"
#include "tests/unit/gateway/client.h"
#include "tools/gateway/check/store_check.h"
#include "tools/gateway/gateway.h"
#include "tools/gateway/meta/redis/redis_transaction.h"
#include "tools/gateway/server.h"
#include "tools/gateway/shared/redis_bulletin.h"

namespace airstore::gateway {
namespace {

using Stub = wire::Storage::Stub;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr size_t kGateways = 3;

uint64_t EnvOr(const char* name, uint64_t fallback) {
  const char* text = getenv(name);
  return text != nullptr && *text != '\0' ? std::stoull(text) : fallback;
}

std::string RandomSession(std::mt19937_64& random) {
  std::string id(16, '\0');
  for (char& c : id) c = static_cast<char>(random());
  return id;
}

class Several : public testing::Test {
 protected:
  Several() : redis_(directory_.path() + "/redis") {
    for (size_t i = 0; i < kGateways; ++i) Start(i);
    std::ifstream(directory_.path() + "/0/admin-token") >> admin_secret_;
    Client admin(Address(0), admin_secret_, std::string(16, 'A'));
    wire::CreateWorkspaceRequest request;
    request.set_name("work");
    wire::Workspace workspace;
    EXPECT_TRUE(admin.Call(&wire::Admin::Stub::CreateWorkspace, request, &workspace).ok());
    wire::CreateTokenRequest token;
    token.set_workspace("work");
    token.set_principal("alice");
    wire::CreateTokenResponse made;
    EXPECT_TRUE(admin.Call(&wire::Admin::Stub::CreateToken, token, &made).ok());
    token_ = made.secret();
  }

  std::string Address(size_t i) const {
    return "unix:" + directory_.path() + "/socket" + std::to_string(i);
  }
  void Start(size_t i) {
    GatewayOptions options;
    options.data_dir = directory_.path() + "/" + std::to_string(i);
    options.admin_token_file = directory_.path() + "/0/admin-token";
    options.metadata = redis_.url();
    options.blocks = "file://" + directory_.path() + "/blocks";
    options.session_lifetime = lifetime_;
    auto opened = Gateway::Open(options);
    ASSERT_TRUE(opened) << opened.error().ToString();
    gateways_[i] = std::move(*opened);
    ServerOptions listening;
    listening.listen = Address(i);
    auto started = Server::Start(*gateways_[i], listening);
    ASSERT_TRUE(started) << started.error().ToString();
    servers_[i] = std::move(*started);
  }
  void End(size_t i) {
    servers_[i].reset();
    gateways_[i].reset();
  }
  Client NewClient(char id, size_t gateway) {
    return Client(Address(gateway), token_, std::string(16, id));
  }
  // As if so much time had passed since anybody was heard of.
  size_t ExpireAll(size_t gateway) {
    Gateway& at = *gateways_[gateway];
    auto expired = at.sessions().Expire(SteadyNow() + std::chrono::hours(1));
    EXPECT_TRUE(expired) << expired.error().ToString();
    return expired ? expired->size() : 0;
  }

  TempDirectory directory_;
  e2e::RedisServer redis_;
  std::chrono::seconds lifetime_{60};
  std::string admin_secret_, token_;
  std::array<std::unique_ptr<Gateway>, kGateways> gateways_;
  std::array<std::unique_ptr<Server>, kGateways> servers_;
};

// Follows a client's session at a gateway, acknowledges what comes, and notes it. Begins again when
// the stream ends, as brokers do.
class Follower {
 public:
  Follower(const std::string& address, const std::string& token, const Client& of)
      : client_(address, token, of.session_id), cursor_(of.opened.watch_cursor()) {
    thread_ = std::thread([this] { Run(); });
  }
  ~Follower() {
    {
      std::lock_guard lock(mu_);
      ending_ = true;
      if (context_) context_->TryCancel();
    }
    thread_.join();
  }
  bool Saw(const std::string& name) {
    std::lock_guard lock(mu_);
    return names_.contains(name);
  }
  int gaps() const { return gaps_; }
  int streams() const { return streams_; }
  uint64_t recalled() const { return recalled_; }
  std::atomic<int> freed{0};

 private:
  void Run() {
    while (true) {
      {
        std::lock_guard lock(mu_);
        if (ending_) return;
        context_ = client_.Context();
        context_->set_deadline(std::chrono::system_clock::now() + seconds(300));
      }
      wire::WatchRequest request;
      request.set_session_id(client_.session_id);
      request.set_cursor(cursor_);
      auto stream = client_.storage->Watch(context_.get(), request);
      ++streams_;
      wire::WatchEvent event;
      while (stream->Read(&event)) {
        cursor_ = event.cursor();
        {
          std::lock_guard lock(mu_);
          for (const auto& name : event.changed().names()) names_.insert(name.name());
        }
        if (event.gap()) ++gaps_;
        if (event.lock_freed() != 0) ++freed;
        if (event.lease_recall() != 0) recalled_ = event.lease_recall();
        wire::AckWatchRequest ack;
        wire::AckWatchResponse acked;
        ack.set_session_id(client_.session_id);
        ack.set_cursor(event.cursor());
        (void)client_.Call(&Stub::AckWatch, ack, &acked);
      }
      (void)stream->Finish();
      std::this_thread::sleep_for(milliseconds(20));
    }
  }

  Client client_;
  uint64_t cursor_;
  std::mutex mu_;
  std::unique_ptr<grpc::ClientContext> context_;
  std::set<std::string> names_;
  bool ending_ = false;
  std::atomic<int> gaps_{0}, streams_{0};
  std::atomic<uint64_t> recalled_{0};
  std::thread thread_;
};

wire::AcquireLeaseResponse Acquire(Client& client) {
  wire::AcquireLeaseRequest request;
  wire::AcquireLeaseResponse response;
  request.set_session_id(client.session_id);
  request.set_inode(1);
  const auto status = client.Call(&Stub::AcquireLease, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response;
}

grpc::Status Create(Client& client, const std::string& name, uint64_t lease = 0,
                    wire::ApplyResponse* response = nullptr) {
  wire::ApplyRequest request;
  wire::ApplyResponse ours;
  client.AddFile(&request, name, client.opened.inodes().first() + client.sequence, "");
  request.set_lease_id(lease);
  return client.Apply(request, response != nullptr ? response : &ours);
}

TEST_F(Several, ChangesAreSeenAtOnceWhereverTheyAreMade) {
  Client one = NewClient('1', 0), two = NewClient('2', 1), three = NewClient('3', 2);
  for (Client* client : {&one, &two, &three}) ASSERT_TRUE(client->Open().ok());
  Follower at_two(Address(1), token_, two), at_three(Address(2), token_, three);
  ASSERT_TRUE(e2e::WaitUntil(seconds(20),
                             [&] { return at_two.streams() == 1 && at_three.streams() == 1; }));
  std::vector<double> took_ms;
  for (int i = 0; i < 100; ++i) {
    const std::string name = "n" + std::to_string(i);
    const SteadyTime begun = SteadyNow();
    ASSERT_TRUE(Create(one, name).ok());
    took_ms.push_back(std::chrono::duration<double, std::milli>(SteadyNow() - begun).count());
    // It was answered: so they have it.
    if (i == 0) continue;  // their watches may begin behind it
    EXPECT_TRUE(at_two.Saw(name)) << name;
    EXPECT_TRUE(at_three.Saw(name)) << name;
    EXPECT_EQ(two.Lookup(name).error(), 0);
  }
  std::sort(took_ms.begin(), took_ms.end());
  std::cout << "answered when all have seen it: median " << took_ms[50] << " ms, p99 "
            << took_ms[98] << " ms\n";
  EXPECT_EQ(at_two.gaps() + at_three.gaps(), 0);
}

TEST_F(Several, ASessionOutlivesItsGateway) {
  Client before = NewClient('1', 0);
  before.want_lease = true;
  ASSERT_TRUE(before.Open().ok());
  const uint64_t lease = before.opened.lease().id();
  ASSERT_NE(lease, 0u);
  ASSERT_TRUE(Create(before, "before", lease).ok());
  Client other = NewClient('2', 2);
  End(0);
  // The same session, number and lease, at another one.
  Client after = NewClient('1', 1);
  after.opened = before.opened;
  after.sequence = before.sequence;
  ASSERT_TRUE(Create(after, "after", lease).ok());
  // Its lease stands in others' way, and is recalled from there.
  Follower follower(Address(1), token_, after);
  ASSERT_TRUE(other.Open().ok());
  EXPECT_TRUE(Acquire(other).held_by_other());
  EXPECT_TRUE(e2e::WaitUntil(seconds(20), [&] { return follower.recalled() == lease; }));
  wire::ReleaseLeaseRequest release;
  wire::ReleaseLeaseResponse released;
  release.set_session_id(after.session_id);
  release.set_lease_id(lease);
  ASSERT_TRUE(after.Call(&Stub::ReleaseLease, release, &released).ok());
  EXPECT_FALSE(Acquire(other).held_by_other());
  EXPECT_EQ(other.Lookup("before").error(), 0);
  EXPECT_EQ(other.Lookup("after").error(), 0);
  // A number that was used is not used again.
  wire::ApplyRequest again;
  wire::ApplyResponse response;
  --after.sequence;
  after.AddFile(&again, "twice", after.opened.inodes().first() + 50, "");
  ASSERT_TRUE(after.Apply(again, &response).ok());
  EXPECT_EQ(other.Lookup("twice").error(), ENOENT);
}

// Where a session belongs is kept under another hash tag than its row, by another master of a
// cluster: that one may forget what it has answered.
TEST_F(Several, ASessionWhosePlaceIsLostGoesOnWhereItWas) {
  Client before = NewClient('1', 0);
  ASSERT_TRUE(before.Open().ok());
  for (const char* name : {"a", "b", "c"}) ASSERT_TRUE(Create(before, name).ok());
  auto store = std::move(*RedisStore::Open([&] {
    RedisOptions options;
    options.socket = redis_.socket();
    return options;
  }()));
  const std::string place = store->keys().WorkspaceOf(SessionId::From(before.session_id));
  ASSERT_EQ((*store->Call({{"DEL", place}})).front().integer, 1);
  Client after = NewClient('1', 1);
  ASSERT_TRUE(after.Open().ok());
  EXPECT_TRUE(after.opened.resumed());
  EXPECT_EQ(after.opened.last_applied_sequence(), 3u);
  // Sent again, since it was not answered: it is not done twice.
  wire::ApplyRequest again;
  wire::ApplyResponse response;
  after.sequence = 2;
  after.AddFile(&again, "twice", after.opened.inodes().first(), "");
  ASSERT_TRUE(after.Apply(again, &response).ok());
  EXPECT_EQ(after.Lookup("twice").error(), ENOENT);
}

// A holder that is cut off, and sends what it has when somebody else has been given its place, or
// is just being given it: all of its batch is there before the other one looks, or none of it.
TEST_F(Several, WhatIsSentUnderALeaseThatHasEndedIsNotApplied) {
  const uint64_t rounds = EnvOr("AIRSTORE_FENCE_ROUNDS", 40);
  const uint64_t seed = EnvOr("AIRSTORE_E2E_SEED", std::random_device{}());
  std::cout << "seed " << seed << ", " << rounds << " rounds\n";
  std::mt19937_64 random(seed);
  int in_time = 0, late = 0;
  for (uint64_t round = 0; round < rounds && !HasFailure(); ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    ExpireAll(random() % kGateways);
    const std::string mine = "mine" + std::to_string(round),
                      theirs = "theirs" + std::to_string(round);
    Client holder(Address(random() % kGateways), token_, RandomSession(random));
    holder.want_lease = true;
    ASSERT_TRUE(holder.Open().ok());
    const uint64_t lease = holder.opened.lease().id();
    ASSERT_NE(lease, 0u);
    Client woken(Address(random() % kGateways), token_, holder.session_id);
    woken.opened = holder.opened;
    (void)woken.Lookup("connected");  // so that it is quick
    const bool racing = random() % 4 != 0;
    const auto delay = std::chrono::microseconds(random() % 3000);
    wire::ApplyResponse answer;
    grpc::Status status;
    const auto send = [&] { status = Create(woken, mine, lease, &answer); };
    std::thread sender;
    if (racing) {
      sender = std::thread([&] {
        std::this_thread::sleep_for(delay);
        send();
      });
    }
    // What is sent takes longer than what takes the lease away.
    if (racing) std::this_thread::sleep_for(std::chrono::microseconds(random() % 6000));
    (void)ExpireAll(random() % kGateways);
    Client next(Address(random() % kGateways), token_, RandomSession(random));
    next.want_lease = true;
    EXPECT_TRUE(next.Open().ok());
    const uint64_t granted = next.opened.lease().id();
    // Which is there by now stays, and nothing comes.
    const bool there = granted != 0 && next.Lookup(mine).error() == 0;
    if (granted != 0) {
      EXPECT_GT(granted, lease);
      EXPECT_TRUE(Create(next, theirs, granted).ok());
    }
    if (!racing) send();
    if (sender.joinable()) sender.join();
    // Refused outright where another one holds the lease by now.
    const bool applied = status.ok() && !answer.lease_lost();
    if (granted != 0) {
      EXPECT_EQ(applied, there) << "it came late and changed something";
      EXPECT_EQ(next.Lookup(mine).error() == 0, there);
    }
    EXPECT_FALSE(applied && !racing);
    ++(applied ? in_time : late);
  }
  std::cout << in_time << " in time, " << late << " too late\n";
  EXPECT_GT(late, 0);
}

// It has been silent for too long and comes back with all that it had cached: whoever was given the
// lease meanwhile may not keep changes to himself any more, also if it asks for nothing.
TEST_F(Several, WhoComesBackIsInTheWayOfLeases) {
  Client away = NewClient('1', 0), next = NewClient('2', 1);
  next.want_lease = true;
  for (const bool watches : {true, false}) {
    SCOPED_TRACE(watches);
    ASSERT_TRUE(away.Open().ok());
    ExpireAll(2);
    ASSERT_TRUE(next.Open().ok());
    const uint64_t lease = next.opened.lease().id();
    ASSERT_NE(lease, 0u);
    Follower follower(Address(1), token_, next);
    std::optional<Follower> back;
    if (watches) {
      back.emplace(Address(0), token_, away);
    } else {
      wire::KeepAliveRequest request;
      wire::KeepAliveResponse response;
      request.set_session_id(away.session_id);
      ASSERT_TRUE(away.Call(&Stub::KeepAlive, request, &response).ok());
    }
    EXPECT_TRUE(e2e::WaitUntil(seconds(20), [&] { return follower.recalled() == lease; }));
    wire::CloseSessionRequest close;
    wire::CloseSessionResponse closed;
    close.set_session_id(next.session_id);
    ASSERT_TRUE(next.Call(&Stub::CloseSession, close, &closed).ok());
  }
}

TEST_F(Several, LocksExcludeAcrossGatewaysAndOutliveThem) {
  Client one = NewClient('1', 0), two = NewClient('2', 1);
  for (Client* client : {&one, &two}) {
    ASSERT_TRUE(client->Open().ok());
    wire::AssertLocksRequest request;
    wire::AssertLocksResponse response;
    request.set_session_id(client->session_id);
    ASSERT_TRUE(client->Call(&Stub::AssertLocks, request, &response).ok());
  }
  const auto lock = [](Client& client, wire::LockType type, uint64_t wait = 0) {
    wire::LockRequest request;
    wire::LockResponse response;
    request.set_session_id(client.session_id);
    request.set_inode(1);
    request.set_type(type);
    request.set_start(0);
    request.set_end(99);
    request.set_owner("o");
    request.set_wait(wait);
    const auto status = client.Call(&Stub::Lock, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.error();
  };
  EXPECT_EQ(lock(one, wire::LOCK_TYPE_EXCLUSIVE), 0);
  EXPECT_EQ(lock(two, wire::LOCK_TYPE_SHARED), EAGAIN);
  End(0);
  Client moved = NewClient('1', 2);
  EXPECT_EQ(lock(two, wire::LOCK_TYPE_EXCLUSIVE, 7), EAGAIN) << "its holder lives";
  Follower follower(Address(1), token_, two);
  EXPECT_EQ(lock(moved, wire::LOCK_TYPE_UNLOCK), 0);
  EXPECT_TRUE(e2e::WaitUntil(seconds(20), [&] { return follower.freed == 1; }));
  EXPECT_EQ(lock(two, wire::LOCK_TYPE_EXCLUSIVE, 7), 0);
  EXPECT_EQ(lock(moved, wire::LOCK_TYPE_SHARED), EAGAIN);
  // A session that is silent for too long holds nothing any more.
  EXPECT_EQ(ExpireAll(2), 2u);
  wire::AssertLocksRequest request;
  wire::AssertLocksResponse response;
  request.set_session_id(two.session_id);
  ASSERT_TRUE(two.Call(&Stub::AssertLocks, request, &response).ok());
  EXPECT_TRUE(response.lapsed());
}

TEST_F(Several, NothingIsLeftOfASessionThatIsForgotten) {
  Client one = NewClient('1', 0);
  ASSERT_TRUE(one.Open().ok());
  wire::AssertLocksRequest request;
  wire::AssertLocksResponse response;
  request.set_session_id(one.session_id);
  ASSERT_TRUE(one.Call(&Stub::AssertLocks, request, &response).ok());
  EXPECT_EQ(ExpireAll(0), 1u);
  auto store = std::move(*RedisStore::Open([&] {
    RedisOptions options;
    options.socket = redis_.socket();
    return options;
  }()));
  const SessionId id = SessionId::From(one.session_id);
  const WorkspaceKey ws = (*store->Read())->GetSession(id)->workspace;
  const auto expired = [&] { return (*store->WriteShared())->ReadLocks(ws).expired; };
  EXPECT_TRUE(expired().contains(id)) << "it would be told";
  gateways_[0]->ForgetOldSessions();
  EXPECT_TRUE(expired().contains(id)) << "too young";
  {
    auto txn = std::move(*store->Write());
    auto session = *txn->GetSession(id);
    session.seen_ns -= 31ll * 24 * 3600 * 1'000'000'000;
    txn->PutSession(session);
    ASSERT_TRUE(txn->Commit());
  }
  gateways_[0]->ForgetOldSessions();
  EXPECT_FALSE((*store->Read())->GetSession(id));
  EXPECT_TRUE(expired().empty());
}

TEST_F(Several, WatchesGoOnWhereTheyWereWhenRedisDies) {
  Client one = NewClient('1', 0), two = NewClient('2', 1);
  for (Client* client : {&one, &two}) ASSERT_TRUE(client->Open().ok());
  Follower follower(Address(1), token_, two);
  ASSERT_TRUE(e2e::WaitUntil(seconds(20), [&] { return follower.streams() == 1; }));
  for (int round = 0; round < 5; ++round) {
    const std::string name = "n" + std::to_string(round);
    redis_.Kill();
    redis_.Start();
    // Brokers send it again until it is answered.
    wire::ApplyRequest request;
    wire::ApplyResponse response;
    one.AddFile(&request, name, one.opened.inodes().first() + static_cast<uint64_t>(round), "");
    ASSERT_TRUE(e2e::WaitUntil(seconds(30), [&] { return one.Apply(request, &response).ok(); }));
    EXPECT_EQ(response.results(0).error(), 0);
    EXPECT_TRUE(e2e::WaitUntil(seconds(20), [&] { return follower.Saw(name); })) << name;
  }
  EXPECT_EQ(follower.gaps(), 0) << "nothing of it was lost";
}

// As where a replica takes the place of a master that had not told it the newest event.
TEST_F(Several, WhoHasSeenWhatRedisLosesIsToldOfAGap) {
  Client one = NewClient('1', 0), two = NewClient('2', 1);
  for (Client* client : {&one, &two}) ASSERT_TRUE(client->Open().ok());
  Follower follower(Address(1), token_, two);
  ASSERT_TRUE(e2e::WaitUntil(seconds(20), [&] { return follower.streams() == 1; }));
  auto store = std::move(*RedisStore::Open([&] {
    RedisOptions options;
    options.socket = redis_.socket();
    return options;
  }()));
  const auto lose_newest = [&] {
    const WorkspaceKey ws = (*store->Read())->FindWorkspace("work")->key;
    const std::string log = store->keys().Log(ws);
    const auto newest = store->Call({{"XREVRANGE", log, "+", "-", "COUNT", "1"}});
    ASSERT_EQ(newest->front().items.size(), 1u);
    const std::string id = newest->front().items[0].items[0].text;
    ASSERT_EQ((*store->Call({{"XDEL", log, id}})).front().integer, 1);
  };
  // Found out when there is something new in the log.
  ASSERT_TRUE(Create(one, "a").ok());
  ASSERT_TRUE(e2e::WaitUntil(seconds(20), [&] { return follower.Saw("a"); }));
  EXPECT_EQ(follower.gaps(), 0);
  lose_newest();
  ASSERT_TRUE(Create(one, "b").ok());
  EXPECT_TRUE(e2e::WaitUntil(seconds(20), [&] { return follower.gaps() == 1; }));
  // And when the server is another one.
  ASSERT_TRUE(Create(one, "c").ok());
  EXPECT_TRUE(e2e::WaitUntil(seconds(20), [&] { return follower.Saw("c"); }));
  lose_newest();
  ASSERT_TRUE(store->Call({{"CLIENT", "KILL", "TYPE", "pubsub"}}));
  EXPECT_TRUE(e2e::WaitUntil(seconds(20), [&] { return follower.gaps() == 2; }));
  ASSERT_TRUE(Create(one, "d").ok());
  EXPECT_TRUE(e2e::WaitUntil(seconds(20), [&] { return follower.Saw("d"); }));
  EXPECT_EQ(follower.gaps(), 2);
}

TEST_F(Several, WhoIsFarBehindIsToldOfAGapAndOthersAreNot) {
  auto store = std::move(*RedisStore::Open([&] {
    RedisOptions options;
    options.socket = redis_.socket();
    return options;
  }()));
  auto writing = std::move(*RedisBulletin::Open(*store, milliseconds(200), {20, 1 << 20}));
  const SessionId author = SessionId::From(std::string(16, 'a'));
  const SessionId other = SessionId::From(std::string(16, 'b'));
  constexpr WorkspaceKey kWorkspace = 77;
  const uint64_t begin = *writing->Cursor(kWorkspace);
  uint64_t last = 0;
  for (int i = 0; i < 2000; ++i) {
    auto txn = std::move(*store->WriteShared());
    ChangeSet changes;
    changes.inodes = {static_cast<InodeNo>(i)};
    txn->Announce(kWorkspace, author, changes);
    ASSERT_TRUE(txn->Commit());
    EXPECT_GT(txn->announced(), last);
    last = txn->announced();
    txn.reset();
    ASSERT_TRUE(writing->WhenSeen(kWorkspace, author, Told{last}, [] {}));
  }
  auto length = store->Call({{"XLEN", store->keys().Log(kWorkspace)}});
  ASSERT_TRUE(length);
  EXPECT_LT(length->front().integer, 1000);
  EXPECT_GE(length->front().integer, 10);
  EXPECT_EQ(writing->LastBy(kWorkspace, author)->cursor, last);
  EXPECT_EQ(writing->LastBy(kWorkspace, other)->cursor, 0u) << "nobody else changed anything";

  // At a gateway that has seen none of it.
  auto reading = std::move(*RedisBulletin::Open(*store, milliseconds(200)));
  ASSERT_TRUE(*reading->Begin(kWorkspace, other, begin));
  uint64_t cursor = begin;
  auto event = reading->hub().Next(kWorkspace, other, &cursor);
  ASSERT_TRUE(event);
  EXPECT_TRUE(event->gap);
  EXPECT_EQ(cursor, last);
  ASSERT_TRUE(*reading->Begin(kWorkspace, author, begin));
  cursor = begin;
  EXPECT_FALSE(reading->hub().Next(kWorkspace, author, &cursor)) << "one's own changes are no gap";
}

// All gateways write all the time, the one that checks, too.
TEST_F(Several, AStoreIsCheckedWhileAllWrite) {
  Gateway& checking = *gateways_[0];
  Client keeper = NewClient('k', 0);
  ASSERT_TRUE(keeper.Open().ok());
  const InodeNo kept = keeper.opened.inodes().first();
  wire::ApplyRequest keep;
  wire::ApplyResponse answered;
  for (int i = 0; i < 300; ++i) {
    keeper.AddFile(&keep, "kept" + std::to_string(i), kept + static_cast<uint64_t>(i), "kept");
  }
  ASSERT_TRUE(keeper.Apply(keep, &answered).ok());

  std::atomic<bool> done{false};
  std::atomic<uint64_t> written{0};
  std::vector<std::thread> writers;
  std::vector<std::unique_ptr<Client>> clients;
  for (size_t g = 0; g < kGateways; ++g) {
    clients.push_back(std::make_unique<Client>(NewClient(static_cast<char>('1' + g), g)));
    ASSERT_TRUE(clients[g]->Open().ok());
  }
  for (size_t g = 0; g < kGateways; ++g) {
    writers.emplace_back([&, g] {
      Client& client = *clients[g];
      const auto name = [g](uint64_t i) { return std::to_string(g) + "-" + std::to_string(i); };
      for (uint64_t i = 0; !done && i < client.opened.inodes().count(); ++i) {
        wire::ApplyRequest request;
        wire::ApplyResponse response;
        // One directory of blocks is for one gateway; the others take away what it has stored.
        client.AddFile(&request, name(i), client.opened.inodes().first() + i,
                       g == 0 ? "some content" : "");
        if (g == 1 && i > 0 && i < 200) {
          wire::Unlink* unlink = client.Add(&request)->mutable_unlink();
          unlink->set_parent(1);
          unlink->set_name("kept" + std::to_string(i));
        }
        if (i >= 5) {
          wire::Rename* rename = client.Add(&request)->mutable_rename();
          rename->set_old_parent(1);
          rename->set_old_name(name(i - 5));
          rename->set_new_parent(1);
          rename->set_new_name("renamed" + name(i - 5));
        }
        if (i >= 10) {
          wire::Unlink* unlink = client.Add(&request)->mutable_unlink();
          unlink->set_parent(1);
          unlink->set_name("renamed" + name(i - 10));
        }
        ASSERT_TRUE(client.Apply(request, &response).ok());
        ++written;
      }
    });
  }
  int checks = 0;
  const auto check = [&](bool repair) {
    ++checks;
    const auto id = checking.check().Start(StoreCheck::Kind::kCheck, {"work", repair, true});
    EXPECT_TRUE(id);
    while (true) {
      auto answer = checking.check().Ask(*id, 0);
      if (!answer || answer->state.finished) return answer ? *answer : StoreCheck::Answer();
      std::this_thread::sleep_for(milliseconds(5));
    }
  };
  const auto begun = SteadyNow();
  for (const bool repair : {false, true}) {
    // Until others have been in the way.
    for (const uint64_t before = written; written < before + 20;) {
      const auto clean = check(repair);
      EXPECT_EQ(clean.state.error, "");
      for (const Damage& damage : clean.damages) {
        ADD_FAILURE() << damage.kind << " " << damage.path << ": " << damage.what;
      }
    }
  }
  ASSERT_TRUE(UntilNoConflict([&]() -> Result<void> {
    auto txn = checking.store().Write();
    const WorkspaceKey ws = (*txn)->FindWorkspace("work")->key;
    Inode inode = *(*txn)->GetInode(ws, kept);
    inode.nlink = 7;
    (*txn)->PutInode(ws, inode);
    BlockRecord block = *(*txn)->GetBlock(ws, (*txn)->ListExtents(ws, kept, 0, 4).at(0).block);
    block.live_bytes += 100;
    (*txn)->PutBlock(ws, block);
    return (*txn)->Commit();
  }));
  for (const bool repair : {false, true}) {
    const auto found = check(repair);
    EXPECT_EQ(found.state.error, "");
    std::set<std::string> kinds;
    for (const Damage& damage : found.damages) {
      kinds.insert(damage.kind);
      EXPECT_EQ(damage.repaired, repair) << damage.what;
    }
    EXPECT_EQ(kinds, (std::set<std::string>{"block-references", "link-count"}));
    EXPECT_EQ(found.damages.size(), 2u);
  }
  const auto mended = check(false);
  EXPECT_EQ(mended.state.error, "");
  EXPECT_TRUE(mended.damages.empty());
  std::cout << checks << " checks beside " << written << " writes in "
            << std::chrono::duration_cast<milliseconds>(SteadyNow() - begun).count() << " ms\n";
  done = true;
  for (std::thread& writer : writers) writer.join();
  EXPECT_TRUE(check(false).damages.empty());
}

}  // namespace
}  // namespace airstore::gateway
