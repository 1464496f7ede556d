// SPDX-License-Identifier: Apache-2.0
//
// Zones: where an inode is, whom a change concerns, and who may have a zone to himself.
#include "tools/gateway/zones.h"

#include <algorithm>

#include "tests/unit/gateway/bench.h"
#include "tools/gateway/session_table.h"
#include "tools/gateway/shared/redis_sessions.h"

namespace airstore::gateway {
namespace {

using Refusal = BatchResult::Refusal;

const SessionId kOne = SessionId::From("session-------01");
const SessionId kTwo = SessionId::From("session-------02");

class ZoneLeases : public testing::Test {
 protected:
  ZoneLeases() {
    b.batches = std::make_unique<BatchApplier>(
        *b.store, *b.blocks, [this](WorkspaceKey, const SessionId&, const ChangeSet& set) {
          told.push_back(set);
          return ++b.cursor;
        });
    const auto recall = [this](WorkspaceKey, const SessionId&, uint64_t lease) {
      recalled.push_back(lease);
    };
    if (auto* redis = dynamic_cast<RedisStore*>(b.store.get())) {
      sessions = std::make_unique<RedisSessions>(*redis, std::chrono::seconds(60), recall);
    } else {
      sessions = std::make_unique<SessionTable>(*b.store, std::chrono::seconds(60), recall);
    }
    sessions->AskWith([this](WorkspaceKey, const SessionId& who, InodeNo zone) {
      asked.emplace_back(who, zone);
    });
    a = b.MakeDirectory(kRootInode, "a");
    c = b.MakeDirectory(kRootInode, "c");
    below_a = b.MakeDirectory(a, "below");
    below_c = b.MakeDirectory(c, "below");
    b.batches->RegisterWith(
        [this](const SessionRecord& session, const std::vector<InodeNo>& zones) {
          return sessions->Register(session, zones);
        });
    EXPECT_TRUE(sessions->Load());
    // Bench's own is not one of those who live.
    EXPECT_TRUE(sessions->Forget(**sessions->Find(b.session)));
    one = Start(kOne);
    two = Start(kTwo);
    told.clear();
  }

  SessionRecord Start(const SessionId& id) {
    SessionRecord record;
    record.id = id;
    record.workspace = b.ws;
    record.principal = "p";
    auto txn = b.store->Write();
    (*txn)->PutSession(record);
    (*txn)->PutInterest({b.ws, id, kRootInode});
    EXPECT_TRUE((*txn)->Commit());
    txn->reset();
    EXPECT_TRUE(sessions->Find(id)->has_value());
    EXPECT_TRUE(sessions->Remember(record));
    return record;
  }
  template <typename Op>
  BatchResult Do(const SessionRecord& by, const Op& op, const std::vector<uint64_t>& leases = {}) {
    Mutation mutation;
    mutation.sequence = sequences[by.id] + 1;
    mutation.time_ns = 1000;
    mutation.op = op;
    BatchResult result = b.batches->Apply(by.id, {mutation}, false, leases);
    if (result.refusal == Refusal::kNone) {
      ++sequences[by.id];
      EXPECT_EQ(result.outcomes.front().error, 0);
    }
    for (const LeaseRecord& lease : result.ended) EXPECT_TRUE(sessions->Release(by, lease.id));
    return result;
  }
  Refusal MakeIn(const SessionRecord& by, InodeNo parent, std::string_view name,
                 const std::vector<uint64_t>& leases = {}) {
    return Do(by, CreateOp{parent, name, ++b.last_ino, S_IFREG | 0644, 0, 0, 0, {}}, leases)
        .refusal;
  }
  Sessions::Acquired Ask(const SessionRecord& session, InodeNo zone) {
    return *sessions->Acquire(session, zone, true);
  }
  bool Registered(const SessionRecord& session, InodeNo zone) {
    return sessions->Enter(session)->zones.contains(zone);
  }
  // Whom what was told since the last call concerned, of the inode.
  std::vector<SessionId> ToldOf(InodeNo ino) {
    std::vector<SessionId> who;
    for (const ChangeSet& set : std::exchange(told, {})) {
      if (std::find(set.inodes.begin(), set.inodes.end(), ino) == set.inodes.end()) continue;
      if (set.only.empty()) return {SessionId{}};
      who.insert(who.end(), set.only.begin(), set.only.end());
    }
    return who;
  }
  const std::vector<SessionId> everybody{SessionId{}};

  Bench b;
  std::unique_ptr<Sessions> sessions;
  std::map<SessionId, uint64_t> sequences;
  std::vector<ChangeSet> told;
  std::vector<uint64_t> recalled;
  std::vector<std::pair<SessionId, InodeNo>> asked;
  SessionRecord one, two;
  InodeNo a = 0, c = 0, below_a = 0, below_c = 0;
};

TEST_F(ZoneLeases, AreWhereTheNamesAre) {
  const InodeNo file = b.MakeFile(below_a, "f");
  const auto reader = std::move(*b.store->Read());
  Zones zones(ParentsIn(*reader, b.ws));
  EXPECT_EQ(zones.OfNames(kRootInode), kRootInode);
  EXPECT_EQ(zones.OfNames(a), a);
  EXPECT_EQ(zones.OfNames(below_a), a);
  EXPECT_EQ(zones.OfNames(999), kRootInode);
  EXPECT_EQ(zones.Of(*b.Get(a)), kRootInode) << "its attributes are among the root's names";
  EXPECT_EQ(zones.Of(*b.Get(below_a)), a);
  EXPECT_EQ(zones.Of(*b.Get(file)), a);
}

TEST_F(ZoneLeases, AFileWithNamesInSeveralDirectoriesIsEverybodys) {
  const InodeNo file = b.MakeFile(below_a, "f");
  EXPECT_EQ(b.Get(file)->parent, below_a);
  EXPECT_EQ(b.Error(LinkOp{file, below_a, "g"}), 0);
  EXPECT_EQ(b.Get(file)->parent, below_a) << "both are there";
  EXPECT_EQ(b.Error(LinkOp{file, c, "f"}), 0);
  EXPECT_EQ(b.Get(file)->parent, 0u);
  EXPECT_EQ(b.Error(UnlinkOp{below_a, "f"}), 0);
  EXPECT_EQ(b.Error(UnlinkOp{below_a, "g"}), 0);
  EXPECT_EQ(b.Get(file)->parent, 0u) << "which one is left is not known";
  EXPECT_EQ(b.Error(RenameOp{c, "f", below_a, "f"}), 0);
  EXPECT_EQ(b.Get(file)->parent, below_a) << "now it is";
  EXPECT_EQ(b.Error(LinkOp{file, below_a, "g"}), 0);
  EXPECT_EQ(b.Error(RenameOp{below_a, "g", c, "g"}), 0);
  EXPECT_EQ(b.Get(file)->parent, 0u);
}

TEST_F(ZoneLeases, TwoSessionsHaveOneEach) {
  ASSERT_EQ(MakeIn(one, below_a, "f"), Refusal::kNone);
  EXPECT_TRUE(Registered(one, a)) << "who changes something has it cached";
  ASSERT_EQ(MakeIn(two, below_c, "f"), Refusal::kNone);
  EXPECT_FALSE(Ask(one, kRootInode).lease) << "not alone";
  const auto lease_a = Ask(one, a).lease, lease_c = Ask(two, c).lease;
  ASSERT_TRUE(lease_a && lease_c);
  EXPECT_EQ(Ask(one, a).lease->id, lease_a->id);
  EXPECT_FALSE(Ask(one, below_a).lease) << "no zone";
  EXPECT_EQ(MakeIn(one, below_a, "g", {lease_a->id}), Refusal::kNone);
  EXPECT_EQ(MakeIn(two, below_c, "g", {lease_c->id}), Refusal::kNone);
  EXPECT_TRUE(recalled.empty());

  EXPECT_EQ(MakeIn(two, below_a, "h"), Refusal::kHeldByOther);
  EXPECT_EQ(recalled, std::vector<uint64_t>{lease_a->id});
  EXPECT_FALSE(*sessions->Register(two, {a}));
  EXPECT_FALSE(Registered(two, a));
  ASSERT_TRUE(sessions->Release(one, lease_a->id));
  EXPECT_EQ(MakeIn(two, below_a, "h"), Refusal::kNone);
  EXPECT_EQ(MakeIn(one, below_a, "i", {lease_a->id}), Refusal::kLeaseLost);
  EXPECT_EQ(MakeIn(one, below_a, "i", {}), Refusal::kNone);
}

TEST_F(ZoneLeases, WhoHasSomethingOfAZoneIsAskedToForgetIt) {
  ASSERT_EQ(MakeIn(one, below_a, "f"), Refusal::kNone);
  ASSERT_TRUE(*sessions->Register(two, {a}));
  EXPECT_FALSE(Ask(one, a).lease);
  EXPECT_FALSE(Ask(one, a).lease);
  ASSERT_EQ(asked.size(), 1u) << "once a second is enough";
  EXPECT_EQ(asked.front(), std::pair(kTwo, a));
  ASSERT_TRUE(sessions->Unregister(two, a));
  EXPECT_TRUE(Ask(one, a).lease);
  EXPECT_FALSE(*sessions->Register(two, {a})) << "it is recalled first";
}

TEST_F(ZoneLeases, WhoRegistersNothingIsInTheWayOfAll) {
  ASSERT_EQ(MakeIn(one, below_a, "f"), Refusal::kNone);
  SessionRecord v1 = two;
  v1.id = SessionId::From("session-------v1");
  ASSERT_TRUE(sessions->Remember(v1));
  EXPECT_FALSE(Ask(one, a).lease);
  ASSERT_TRUE(sessions->Forget(v1));
  const auto lease = Ask(one, a).lease;
  ASSERT_TRUE(lease);
  EXPECT_TRUE(*sessions->RecallOthers(v1));
  EXPECT_EQ(recalled, std::vector<uint64_t>{lease->id});
}

TEST_F(ZoneLeases, SilenceLosesThemAndWhatWasRegistered) {
  ASSERT_EQ(MakeIn(one, below_a, "f"), Refusal::kNone);
  const auto lease = Ask(one, a).lease;
  ASSERT_TRUE(lease);
  EXPECT_TRUE(*sessions->BeginWatch(one));
  EXPECT_EQ(ExpireAll(*sessions).size(), 2u);
  EXPECT_TRUE(sessions->LeasesOf(one)->empty());
  EXPECT_FALSE(Registered(one, a));
  // It does not know yet.
  EXPECT_EQ(MakeIn(one, below_a, "g", {lease->id}), Refusal::kLeaseLost);
  ASSERT_TRUE(*sessions->Register(two, {a}));
  EXPECT_TRUE(*sessions->Register(one, {a}));
  EXPECT_FALSE(*sessions->BeginWatch(one)) << "it may have missed something";
  EXPECT_TRUE(*sessions->BeginWatch(one)) << "and was told so";
}

TEST_F(ZoneLeases, TheWholeWorkspaceIsForOneAlone) {
  ASSERT_TRUE(sessions->Forget(two));
  const auto lease = Ask(one, a).lease;
  ASSERT_TRUE(lease);
  EXPECT_EQ(lease->inode, kRootInode) << "more than was asked for";
  two = Start(kTwo);
  EXPECT_TRUE(sessions->Enter(two)->held_by_other);
  EXPECT_EQ(MakeIn(two, below_c, "f"), Refusal::kHeldByOther);
  EXPECT_FALSE(*sessions->Register(two, {c}));
  EXPECT_TRUE(Ask(two, c).held_by_other);
  ASSERT_TRUE(sessions->Release(one, lease->id));
  EXPECT_EQ(MakeIn(two, below_c, "f"), Refusal::kNone);
}

TEST_F(ZoneLeases, WhoHasTooManyHasAll) {
  std::vector<InodeNo> many;
  for (InodeNo zone = 1000; zone < 1000 + kMostZones; ++zone) many.push_back(zone);
  ASSERT_TRUE(*sessions->Register(two, many));
  EXPECT_EQ(sessions->Enter(two)->zones.size(), kMostZones + 1);
  ASSERT_TRUE(*sessions->Register(two, {c}));
  EXPECT_EQ(sessions->Enter(two)->zones, (std::set<InodeNo>{kAllZones, kRootInode}));
  ASSERT_EQ(MakeIn(one, below_a, "f"), Refusal::kNone);
  EXPECT_FALSE(Ask(one, a).lease);
  EXPECT_TRUE(asked.empty()) << "it could not forget that one alone";
  if (!Bench::EngineTells()) {
    EXPECT_EQ(ToldOf(below_a), std::vector<SessionId>{kTwo});
  }
}

// On Redis the commit tells of itself: see service_test.
TEST_F(ZoneLeases, ChangesConcernWhoHasRegisteredTheirZone) {
  if (Bench::EngineTells()) return;
  ASSERT_TRUE(*sessions->Register(two, {c}));
  ASSERT_EQ(MakeIn(one, below_a, "f"), Refusal::kNone);
  EXPECT_EQ(ToldOf(below_a), std::vector<SessionId>{kOne}) << "nobody else has anything of it";
  ASSERT_EQ(MakeIn(one, a, "f"), Refusal::kNone);
  EXPECT_EQ(ToldOf(a), everybody) << "the root's directories have new times";
  ASSERT_EQ(MakeIn(one, below_c, "f"), Refusal::kNone);
  EXPECT_EQ(ToldOf(b.last_ino), std::vector<SessionId>{kTwo});
  ASSERT_EQ(MakeIn(one, kRootInode, "f"), Refusal::kNone);
  EXPECT_EQ(ToldOf(kRootInode), everybody);
  // Out of one zone into the other: both.
  ASSERT_EQ(MakeIn(two, below_c, "moved"), Refusal::kNone);
  const InodeNo moved = b.last_ino;
  told.clear();
  ASSERT_EQ(Do(two, RenameOp{below_c, "moved", below_a, "moved"}).refusal, Refusal::kNone);
  EXPECT_EQ(ToldOf(moved), std::vector<SessionId>{kOne});
  ASSERT_EQ(Do(one, LinkOp{moved, below_c, "again"}).refusal, Refusal::kNone);
  EXPECT_EQ(ToldOf(moved), everybody);
  ASSERT_EQ(Do(two, SetAttrOp{moved, 0600, {}, {}, {}, {}, {}, {}}).refusal, Refusal::kNone);
  EXPECT_EQ(ToldOf(moved), everybody);
}

TEST_F(ZoneLeases, InterestGoesAlongWithADirectoryThatIsMoved) {
  ASSERT_TRUE(*sessions->Register(two, {c}));
  ASSERT_EQ(MakeIn(one, below_a, "f"), Refusal::kNone);
  const auto lease = Ask(one, a).lease;
  ASSERT_TRUE(lease);
  // Nobody has a zone to himself that another one has something of from then on.
  ASSERT_EQ(Do(one, RenameOp{c, "below", below_a, "came"}).refusal, Refusal::kNone);
  EXPECT_TRUE(Registered(two, a));
  EXPECT_TRUE(sessions->LeasesOf(one)->empty());
  EXPECT_EQ(MakeIn(one, below_a, "g", {lease->id}), Refusal::kLeaseLost);
  EXPECT_FALSE(Ask(one, a).lease);
  // A directory that comes into the root is a zone from then on.
  ASSERT_EQ(Do(one, RenameOp{below_a, "came", kRootInode, "out"}).refusal, Refusal::kNone);
  EXPECT_TRUE(Registered(one, below_c));
  EXPECT_TRUE(Registered(two, below_c));
}

TEST_F(ZoneLeases, AZoneIsNotRemovedOrMovedUnderItsHoldersHands) {
  ASSERT_EQ(MakeIn(one, below_a, "f"), Refusal::kNone);
  const InodeNo empty = ++b.last_ino;
  ASSERT_EQ(Do(one, CreateOp{kRootInode, "empty", empty, S_IFDIR | 0755, 0, 0, 0, {}}).refusal,
            Refusal::kNone);
  ASSERT_TRUE(Ask(one, empty).lease);
  ASSERT_TRUE(Ask(one, a).lease);
  EXPECT_EQ(Do(two, UnlinkOp{kRootInode, "empty", true, empty}).refusal, Refusal::kHeldByOther);
  EXPECT_EQ(Do(two, RenameOp{kRootInode, "a", c, "a"}).refusal, Refusal::kHeldByOther);
  EXPECT_EQ(Do(two, RenameOp{below_c, "nothing", below_a, "f"}).refusal, Refusal::kHeldByOther);
  EXPECT_EQ(recalled.size(), 2u);
}

}  // namespace
}  // namespace airstore::gateway
