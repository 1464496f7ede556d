// SPDX-License-Identifier: Apache-2.0
//
// What lives beside the tree: leases and sessions, the watch hub, tokens, validation.
#include <atomic>
#include <future>

#include "tests/unit/gateway/bench.h"
#include "tools/gateway/auth.h"
#include "tools/gateway/session_table.h"
#include "tools/gateway/validate.h"
#include "tools/gateway/watch_acks.h"
#include "tools/gateway/watch_hub.h"

namespace airstore::gateway {
namespace {

const SessionId kOne = SessionId::From("session-------01");
const SessionId kTwo = SessionId::From("session-------02");

class SessionTables : public testing::Test {
 protected:
  SessionTables() {
    AddSessions();
    table = NewTable();
    for (const SessionId& id : {b.session, kOne, kTwo})
      EXPECT_TRUE(table->Forget(**table->Find(id)));  // all came later
  }
  void AddSessions() {
    auto txn = b.store->Write();
    for (const SessionId& id : {kOne, kTwo}) {
      SessionRecord record;
      record.id = id;
      record.workspace = b.ws;
      record.principal = "p";
      (*txn)->PutSession(record);
    }
    EXPECT_TRUE((*txn)->Commit());
  }
  std::unique_ptr<SessionTable> NewTable() {
    auto fresh = std::make_unique<SessionTable>(
        *b.store, std::chrono::seconds(60),
        [this](WorkspaceKey, const SessionId&, uint64_t lease) { recalled.push_back(lease); });
    EXPECT_TRUE(fresh->Load());
    return fresh;
  }
  SessionTable::Acquired Ask(const SessionId& id, bool may_write = true) {
    return *table->Acquire(**table->Find(id), kRootInode, may_write);
  }
  std::optional<LeaseRecord> LeaseOf(const SessionId& id) {
    SessionRecord session;
    session.id = id;
    const auto leases = *table->LeasesOf(session);
    return leases.empty() ? std::nullopt : std::optional(leases.front());
  }
  // Looks as often as a gateway does, from `from` on.
  Result<std::vector<SessionRecord>> Expire(int seconds, int from = 0) {
    for (int at = from; at < seconds; at += 4) {
      EXPECT_TRUE(table->Expire(start + std::chrono::seconds(at))->empty()) << at;
    }
    return table->Expire(start + std::chrono::seconds(seconds));
  }
  std::optional<LeaseRecord> Acquire(const SessionId& id) { return Ask(id).lease; }

  Bench b;
  std::vector<uint64_t> recalled;
  std::unique_ptr<SessionTable> table;
  const SteadyTime start = SteadyNow();
};

TEST_F(SessionTables, ALeaseIsForOneAloneAndIsRecalled) {
  const auto lease = Acquire(kOne);
  ASSERT_TRUE(lease);
  EXPECT_EQ(Acquire(kOne)->id, lease->id);
  const auto asked = Ask(kTwo);
  EXPECT_FALSE(asked.lease);
  EXPECT_TRUE(asked.held_by_other);
  EXPECT_EQ(recalled, std::vector<uint64_t>{lease->id});
  ASSERT_TRUE(table->Release(**table->Find(kTwo), lease->id));
  EXPECT_TRUE(Ask(kTwo).held_by_other) << "only its holder can release it";
  ASSERT_TRUE(table->Release(**table->Find(kOne), lease->id));
  for (const SessionId& id : {kOne, kTwo}) {
    EXPECT_FALSE(Acquire(id)) << "there are two of them";
    EXPECT_FALSE(Ask(id).held_by_other);
  }
  EXPECT_TRUE(table->Forget(**table->Find(kOne)));
  const auto next = Acquire(kTwo);
  ASSERT_TRUE(next);
  EXPECT_GT(next->id, lease->id);
}

TEST_F(SessionTables, WhoOnlyReadsRecallsTooAndHoldsNothing) {
  EXPECT_FALSE(Ask(kTwo, false).lease);
  EXPECT_TRUE(table->Forget(**table->Find(kTwo)));
  ASSERT_TRUE(Acquire(kOne));
  EXPECT_TRUE(Ask(kTwo, false).held_by_other);
  EXPECT_EQ(recalled.size(), 1u);
  EXPECT_TRUE(*table->RecallOthers(**table->Find(kTwo)));
  EXPECT_FALSE(*table->RecallOthers(**table->Find(kOne))) << "one's own lease is in nobody's way";
  EXPECT_EQ(recalled.size(), 1u) << "a recall is repeated once a second, not more";
}

TEST_F(SessionTables, SilenceLosesTheLeaseButNotTheSession) {
  ASSERT_TRUE(Acquire(kOne));
  EXPECT_TRUE(Expire(59)->empty());
  const auto expired = Expire(61);
  ASSERT_EQ(expired->size(), 1u);
  EXPECT_EQ(expired->front().id, kOne);
  EXPECT_FALSE(LeaseOf(kOne));
  EXPECT_TRUE(Acquire(kTwo));
  EXPECT_TRUE(table->Find(kOne)->has_value());
}

TEST_F(SessionTables, AStandstillOfTheGatewayIsNobodysSilence) {
  ASSERT_TRUE(Acquire(kOne));
  EXPECT_TRUE(table->Expire(start + std::chrono::seconds(600))->empty());
  EXPECT_TRUE(LeaseOf(kOne));
  EXPECT_EQ(Expire(662, 600)->size(), 1u);
}

TEST_F(SessionTables, AfterARestartEveryoneHasTimeToComeBack) {
  const auto lease = Acquire(kOne);
  table = NewTable();
  EXPECT_EQ(LeaseOf(kOne)->id, lease->id);
  EXPECT_TRUE(Ask(kTwo).held_by_other);
  ASSERT_TRUE(table->Release(**table->Find(kOne), lease->id));
  EXPECT_FALSE(Acquire(kTwo));
  EXPECT_EQ(Expire(61)->size(), 3u);
  EXPECT_TRUE(Acquire(kTwo));
}

std::optional<HubEvent> NextOf(WatchHub& hub, const SessionId& session, uint64_t cursor) {
  return hub.Next(1, session, &cursor);
}

TEST(WatchHub, TellsOthersInOrderAndNotOneself) {
  WatchHub hub;
  const uint64_t start = hub.cursor(1);
  EXPECT_EQ(hub.PublishChanges(1, kOne, {{5}, {}}), start + 1);
  hub.PublishChanges(1, kTwo, {{6}, {}});
  hub.PublishRecall(1, kTwo, 99);
  hub.PublishLockFreed(1, kTwo, 5);
  uint64_t elsewhere = hub.cursor(2);
  EXPECT_FALSE(hub.Next(2, kTwo, &elsewhere));
  uint64_t cursor = start;
  auto event = hub.Next(1, kTwo, &cursor);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->changes->inodes, std::vector<InodeNo>{5});
  EXPECT_EQ(cursor, event->cursor);
  event = hub.Next(1, kTwo, &cursor);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->lease_recall, 99u);
  event = hub.Next(1, kTwo, &cursor);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->lock_freed, 5u);
  EXPECT_FALSE(hub.Next(1, kTwo, &cursor));
  EXPECT_EQ(NextOf(hub, kOne, start)->changes->inodes, std::vector<InodeNo>{6});
  EXPECT_EQ(hub.LastBy(1, kTwo).cursor, start + 2);
  EXPECT_EQ(hub.LastBy(1, kOne).cursor, start + 1);
}

TEST(WatchHub, TellsThoseWhomItConcerns) {
  WatchHub hub;
  const uint64_t start = hub.cursor(1);
  const SessionId three = SessionId::From("session-------03");
  hub.PublishChanges(1, kOne, {{5}, {}, {kTwo}});
  hub.PublishForget(1, three, 7);
  const uint64_t mark = hub.PublishMark(1, three);
  EXPECT_EQ(NextOf(hub, kTwo, start)->changes->inodes, std::vector<InodeNo>{5});
  uint64_t cursor = start;
  EXPECT_EQ(hub.Next(1, three, &cursor)->forget, 7u) << "the change does not concern it";
  const auto event = hub.Next(1, three, &cursor);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->cursor, mark);
  EXPECT_TRUE(!event->gap && event->forget == 0 && event->changes == nullptr);
  EXPECT_EQ(hub.LastBy(1, kOne).only, std::vector<SessionId>{kTwo});
}

TEST(WatchHub, SaysWhenEventsAreLost) {
  WatchHub hub(4);
  const uint64_t start = hub.cursor(1);
  for (InodeNo i = 0; i < 4; ++i) hub.PublishChanges(1, kOne, {{i}, {}});
  EXPECT_FALSE(NextOf(hub, kTwo, start)->gap);
  hub.PublishChanges(1, kOne, {{4}, {}});
  const auto gap = NextOf(hub, kTwo, start);
  ASSERT_TRUE(gap->gap);
  EXPECT_EQ(gap->cursor, hub.cursor(1));
  EXPECT_FALSE(NextOf(hub, kTwo, gap->cursor));
  EXPECT_TRUE(NextOf(hub, kTwo, 0)->gap) << "of an earlier life";
  EXPECT_TRUE(NextOf(hub, kTwo, UINT64_MAX)->gap);
}

TEST(WatchHub, OnesOwnChangesAreNoGap) {
  WatchHub hub(4);
  const uint64_t start = hub.cursor(1);
  for (InodeNo i = 0; i < 20; ++i) hub.PublishChanges(1, kOne, {{i}, {}});
  uint64_t cursor = start;
  EXPECT_FALSE(hub.Next(1, kOne, &cursor)) << "all of them are its own";
  EXPECT_EQ(cursor, hub.cursor(1));
  hub.PublishChanges(1, kTwo, {{99}, {}});
  for (InodeNo i = 0; i < 3; ++i) hub.PublishChanges(1, kOne, {{i}, {}});
  EXPECT_FALSE(NextOf(hub, kOne, start)->gap);
  hub.PublishChanges(1, kOne, {{1}, {}});
  EXPECT_TRUE(NextOf(hub, kOne, start)->gap) << "that of the other one is lost now";
  EXPECT_FALSE(NextOf(hub, kOne, start + 21));
}

TEST(WatchHub, KeepsWithinItsBytes) {
  WatchHub hub(1000, 1000);
  const uint64_t start = hub.cursor(1);
  for (int i = 0; i < 3; ++i) hub.PublishChanges(1, kOne, {std::vector<InodeNo>(100, 7), {}});
  EXPECT_TRUE(NextOf(hub, kTwo, start)->gap);
  EXPECT_FALSE(NextOf(hub, kTwo, start + 2)->gap) << "the newest stays";
}

class Acks : public testing::Test {
 protected:
  bool Seen(uint64_t cursor) {
    auto done = std::make_shared<std::promise<void>>();
    pending.push_back(done->get_future());
    acks.WhenSeen(1, kOne, Told{cursor, only}, [done] { done->set_value(); });
    return IsDone(pending.back());
  }
  static bool IsDone(const std::future<void>& future) {
    return future.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  }

  std::vector<SessionId> only;
  std::atomic<int> given_up{0};
  std::vector<std::future<void>> pending;
  WatchAcks acks{std::chrono::milliseconds(200), [this](WorkspaceKey, const SessionId& session) {
                   EXPECT_EQ(session, kTwo);
                   ++given_up;
                 }};
};

TEST_F(Acks, AChangeWaitsForThoseWhoWatch) {
  EXPECT_TRUE(Seen(10)) << "nobody watches";
  EXPECT_TRUE(acks.Begin(1, kOne, 0));
  EXPECT_TRUE(Seen(10)) << "who made it is not waited for";
  EXPECT_TRUE(acks.Begin(2, kTwo, 0));
  EXPECT_TRUE(Seen(10)) << "that is another workspace";
  acks.Forget(kTwo);
  EXPECT_TRUE(acks.Begin(1, kTwo, 5));
  EXPECT_TRUE(Seen(5));
  EXPECT_FALSE(Seen(10));
  EXPECT_FALSE(Seen(11));
  acks.Acknowledge(kTwo, 10);
  EXPECT_TRUE(IsDone(pending[pending.size() - 2]));
  EXPECT_FALSE(IsDone(pending.back()));
  only = {SessionId::From("session-------03")};
  EXPECT_TRUE(Seen(12)) << "it does not concern who watches";
  only.clear();
  EXPECT_FALSE(Seen(12));
  acks.Forget(kTwo);
  EXPECT_TRUE(IsDone(pending.back()));
  EXPECT_EQ(given_up, 0);
}

TEST_F(Acks, WhoIsSilentIsGivenUp) {
  acks.Begin(1, kTwo, 0);
  EXPECT_FALSE(Seen(1));
  EXPECT_EQ(pending.back().wait_for(std::chrono::seconds(10)), std::future_status::ready);
  EXPECT_EQ(given_up, 1);
  EXPECT_TRUE(Seen(2)) << "it is not waited for again";
  EXPECT_FALSE(acks.Begin(1, kTwo, 1)) << "it has missed something";
  EXPECT_FALSE(Seen(3));
  acks.Acknowledge(kTwo, 3);
  EXPECT_TRUE(IsDone(pending.back()));
}

TEST(Auth, TokensAreKnownByTheirHashUntilRevoked) {
  Bench b;
  const std::string admin = NewSecret();
  const std::string secret = NewSecret();
  TokenRecord token;
  token.id = "tok_1";
  token.hash = HashSecret(secret);
  token.workspace = b.ws;
  token.principal = "alice";
  token.read_only = true;
  {
    auto txn = b.store->Write();
    (*txn)->PutToken(token);
    ASSERT_TRUE((*txn)->Commit());
  }
  Authenticator auth(*b.store, admin);
  EXPECT_TRUE(auth.Authenticate("Bearer " + admin)->admin);
  const auto caller = auth.Authenticate("Bearer " + secret);
  ASSERT_TRUE(caller);
  EXPECT_FALSE(caller->admin);
  EXPECT_TRUE(caller->read_only);
  EXPECT_EQ(caller->workspace, b.ws);
  EXPECT_EQ(caller->principal, "alice");
  for (const std::string& bad :
       {std::string(), secret, std::string("Bearer "), "Bearer " + secret + "x", "bearer " + secret,
        "Bearer " + token.hash}) {
    EXPECT_EQ(auth.Authenticate(bad).error().code, EACCES) << bad;
  }
  {
    auto txn = b.store->Write();
    EXPECT_TRUE((*txn)->RevokeToken("tok_1", 5));
    EXPECT_FALSE((*txn)->RevokeToken("tok_2", 5));
    ASSERT_TRUE((*txn)->Commit());
  }
  EXPECT_EQ(auth.Authenticate("Bearer " + secret).error().code, EACCES);
}

TEST(Auth, TheAdminSecretIsMadeOnceAndPrivate) {
  TempDirectory directory;
  const std::string path = directory.path() + "/admin-token";
  const auto made = LoadOrCreateAdminSecret(path);
  ASSERT_TRUE(made);
  EXPECT_EQ(*LoadOrCreateAdminSecret(path), *made);
  struct stat st;
  ASSERT_EQ(stat(path.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
  ASSERT_EQ(chmod(path.c_str(), 0644), 0);
  EXPECT_EQ(LoadOrCreateAdminSecret(path).error().code, EPERM);
}

TEST(Validate, WorkspaceNamesAndPrincipals) {
  EXPECT_TRUE(IsWorkspaceName("My_work-1.0"));
  for (const std::string& bad : {std::string(), std::string(65, 'a'), std::string("a b"),
                                 std::string("a/b"), std::string("..")}) {
    EXPECT_FALSE(IsWorkspaceName(bad)) << bad;
  }
  EXPECT_TRUE(IsPrincipal("alice@example.org"));
  EXPECT_FALSE(IsPrincipal("a\nb"));
  EXPECT_FALSE(IsPrincipal(""));
}

TEST(Validate, RangesDoNotWrap) {
  EXPECT_EQ(CheckRange(0, kMaxFileBytes), 0);
  EXPECT_EQ(CheckRange(1, kMaxFileBytes), EFBIG);
  EXPECT_EQ(CheckRange(UINT64_MAX, 2), EFBIG);
  EXPECT_EQ(CheckRange(2, UINT64_MAX), EFBIG);
}

}  // namespace
}  // namespace airstore::gateway
