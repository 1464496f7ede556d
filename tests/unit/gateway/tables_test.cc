// SPDX-License-Identifier: Apache-2.0
//
// What lives beside the tree: locks, leases and sessions, the watch hub, tokens, validation.
#include "tests/unit/gateway/bench.h"
#include "tools/gateway/auth.h"
#include "tools/gateway/lock_table.h"
#include "tools/gateway/session_table.h"
#include "tools/gateway/validate.h"
#include "tools/gateway/watch_hub.h"

namespace airstore::gateway {
namespace {

const SessionId kOne = SessionId::From("session-------01");
const SessionId kTwo = SessionId::From("session-------02");

LockSpec Range(const SessionId& session, LockMode mode, uint64_t start, uint64_t end) {
  return {{session, "o"}, mode, start, end, 7};
}

TEST(LockTable, SharedAndExclusiveRanges) {
  LockTable t;
  EXPECT_FALSE(t.Set(1, 5, false, Range(kOne, LockMode::kShared, 0, 99), false));
  EXPECT_FALSE(t.Set(1, 5, false, Range(kTwo, LockMode::kShared, 50, 150), false));
  const auto conflict = t.Set(1, 5, false, Range(kTwo, LockMode::kExclusive, 99, 99), false);
  ASSERT_TRUE(conflict);
  EXPECT_EQ(conflict->pid, 7u);
  EXPECT_EQ(conflict->end, 99u);
  EXPECT_FALSE(t.Set(1, 5, false, Range(kTwo, LockMode::kExclusive, 100, UINT64_MAX), false));
  EXPECT_FALSE(t.Set(2, 5, false, Range(kTwo, LockMode::kExclusive, 0, 9), false)) << "elsewhere";
  EXPECT_FALSE(t.Set(1, 5, true, Range(kTwo, LockMode::kExclusive, 0, UINT64_MAX), false))
      << "flock does not see ranges";
}

TEST(LockTable, UnlockingTheMiddleSplits) {
  LockTable t;
  EXPECT_FALSE(t.Set(1, 5, false, Range(kOne, LockMode::kExclusive, 0, 99), false));
  EXPECT_FALSE(t.Set(1, 5, false, Range(kOne, LockMode::kUnlock, 40, 59), false));
  EXPECT_FALSE(t.Set(1, 5, false, Range(kTwo, LockMode::kExclusive, 40, 59), true));
  EXPECT_TRUE(t.Set(1, 5, false, Range(kTwo, LockMode::kExclusive, 39, 59), true));
  EXPECT_TRUE(t.Set(1, 5, false, Range(kTwo, LockMode::kExclusive, 40, 60), true));
}

TEST(LockTable, AnOwnerConvertsItsLockAndTestingTakesNone) {
  LockTable t;
  EXPECT_FALSE(t.Set(1, 5, true, Range(kOne, LockMode::kExclusive, 0, UINT64_MAX), true));
  EXPECT_FALSE(t.Set(1, 5, true, Range(kTwo, LockMode::kExclusive, 0, UINT64_MAX), false));
  EXPECT_FALSE(t.Set(1, 5, true, Range(kTwo, LockMode::kShared, 0, UINT64_MAX), false));
  EXPECT_FALSE(t.Set(1, 5, true, Range(kOne, LockMode::kShared, 0, UINT64_MAX), false));
  t.ReleaseSession(kTwo);
  EXPECT_FALSE(t.Set(1, 5, true, Range(kOne, LockMode::kExclusive, 0, UINT64_MAX), false));
}

class Sessions : public testing::Test {
 protected:
  Sessions() {
    AddSessions();
    table = NewTable();
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
  std::optional<LeaseRecord> Acquire(const SessionId& id) {
    return *table->Acquire(**table->Find(id), kRootInode);
  }

  Bench b;
  std::vector<uint64_t> recalled;
  std::unique_ptr<SessionTable> table;
};

TEST_F(Sessions, ALeaseExcludesOthersAndIsRecalled) {
  const auto lease = Acquire(kOne);
  ASSERT_TRUE(lease);
  EXPECT_EQ(Acquire(kOne)->id, lease->id);
  EXPECT_FALSE(Acquire(kTwo));
  EXPECT_EQ(recalled, std::vector<uint64_t>{lease->id});
  ASSERT_TRUE(table->Release(kTwo, lease->id));
  EXPECT_FALSE(Acquire(kTwo)) << "only its holder can release it";
  ASSERT_TRUE(table->Release(kOne, lease->id));
  const auto next = Acquire(kTwo);
  ASSERT_TRUE(next);
  EXPECT_GT(next->id, lease->id);
}

TEST_F(Sessions, SilenceLosesTheLeaseButNotTheSession) {
  ASSERT_TRUE(Acquire(kOne));
  EXPECT_TRUE(table->Expire(SteadyNow() + std::chrono::seconds(59))->empty());
  EXPECT_EQ(*table->Expire(SteadyNow() + std::chrono::seconds(61)), std::vector<SessionId>{kOne});
  EXPECT_FALSE(table->LeaseOf(kOne));
  EXPECT_TRUE(Acquire(kTwo));
  EXPECT_TRUE(table->Find(kOne)->has_value());
}

TEST_F(Sessions, LeasesOutliveARestart) {
  const auto lease = Acquire(kOne);
  table = NewTable();
  EXPECT_EQ(table->LeaseOf(kOne)->id, lease->id);
  EXPECT_FALSE(Acquire(kTwo));
  EXPECT_EQ(table->Expire(SteadyNow() + std::chrono::seconds(61))->size(), 2u);
  EXPECT_TRUE(Acquire(kTwo));
}

TEST(WatchHub, TellsOthersInOrderAndNotOneself) {
  WatchHub hub;
  const uint64_t start = hub.cursor(1);
  hub.PublishChanges(1, kOne, {{5}, {}});
  hub.PublishChanges(1, kTwo, {{6}, {}});
  hub.PublishRecall(1, kTwo, 99);
  EXPECT_FALSE(hub.Next(2, kTwo, hub.cursor(2)));
  auto event = hub.Next(1, kTwo, start);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->changes->inodes, std::vector<InodeNo>{5});
  event = hub.Next(1, kTwo, event->cursor);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->lease_recall, 99u);
  EXPECT_FALSE(hub.Next(1, kTwo, event->cursor));
  EXPECT_EQ(hub.Next(1, kOne, start)->changes->inodes, std::vector<InodeNo>{6});
}

TEST(WatchHub, SaysWhenEventsAreLost) {
  WatchHub hub(4);
  const uint64_t start = hub.cursor(1);
  for (InodeNo i = 0; i < 4; ++i) hub.PublishChanges(1, kOne, {{i}, {}});
  EXPECT_FALSE(hub.Next(1, kTwo, start)->gap);
  hub.PublishChanges(1, kOne, {{4}, {}});
  const auto gap = hub.Next(1, kTwo, start);
  ASSERT_TRUE(gap->gap);
  EXPECT_EQ(gap->cursor, hub.cursor(1));
  EXPECT_FALSE(hub.Next(1, kTwo, gap->cursor));
  EXPECT_TRUE(hub.Next(1, kTwo, 0)->gap) << "of an earlier life";
  EXPECT_TRUE(hub.Next(1, kTwo, UINT64_MAX)->gap);
}

TEST(WatchHub, KeepsWithinItsBytes) {
  WatchHub hub(1000, 1000);
  const uint64_t start = hub.cursor(1);
  for (int i = 0; i < 3; ++i) hub.PublishChanges(1, kOne, {std::vector<InodeNo>(100, 7), {}});
  EXPECT_TRUE(hub.Next(1, kTwo, start)->gap);
  EXPECT_FALSE(hub.Next(1, kTwo, start + 2)->gap) << "the newest stays";
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
