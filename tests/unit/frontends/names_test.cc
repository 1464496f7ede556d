// SPDX-License-Identifier: Apache-2.0
//
// Lookups, attributes, forgetting, and calls that change names.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <thread>

#include "fake_broker.h"

namespace airstore::testing {
namespace {

using volume::Node;

TEST(VolumeNames, CachedLookupMakesNoQueueRecord) {
  FakeBroker broker;
  const uint32_t index = broker.AddFile(10, shm::kRootInode, "a");
  const uint64_t popped = broker.Popped();
  PlainRequest request;
  Node node;
  EXPECT_EQ(0, broker.volume().Lookup(request, shm::kRootInode, "a", &node));
  EXPECT_EQ(10u, node.record.inode);
  EXPECT_EQ(volume::kTrustSeconds, node.attr_seconds);
  EXPECT_EQ(0, broker.volume().Getattr(request, 10, &node));
  EXPECT_EQ(popped, broker.Popped());
  EXPECT_EQ(1u, broker.lane().Lookups(index));
  EXPECT_EQ(1u, broker.Counter(shm::kLookupHits));
  EXPECT_EQ(1u, broker.Counter(shm::kGetattrHits));
}

TEST(VolumeNames, NegativeEntryAnswersWithoutTheBroker) {
  FakeBroker broker;
  broker.Do([&] { ASSERT_TRUE(broker.meta().AddDentry(shm::kRootInode, "none", 0, 0)); });
  const uint64_t popped = broker.Popped();
  PlainRequest request;
  Node node;
  EXPECT_EQ(ENOENT, broker.volume().Lookup(request, shm::kRootInode, "none", &node));
  EXPECT_EQ(popped, broker.Popped());
  EXPECT_EQ(ENOENT, broker.volume().Lookup(request, shm::kRootInode, "other", &node));
  EXPECT_EQ(popped + 1, broker.Popped());
}

TEST(VolumeNames, WhatIsChangingIsToldAndNotKept) {
  FakeBroker broker;
  broker.AddDirectory(20, shm::kRootInode, "d");
  broker.AddFile(10, 20, "a");
  broker.Do([&] {
    ASSERT_TRUE(broker.meta().AddDentry(20, "none", 0, 0));
    broker.lane().SetMounts(2);
  });
  const auto mark = [](shm::InodeRecord* record) { record->flags |= shm::kChanging; };
  const auto unmark = [](shm::InodeRecord* record) { record->flags &= ~uint32_t{shm::kChanging}; };
  PlainRequest request;
  Node node;
  const auto look = [&](const char* name, int error, uint32_t entry, uint32_t attributes) {
    EXPECT_EQ(error, broker.volume().Lookup(request, 20, name, &node));
    EXPECT_EQ(entry, node.entry_seconds) << name;
    if (error == 0) {
      EXPECT_EQ(attributes, node.attr_seconds) << name;
    }
  };
  look("a", 0, volume::kTrustSeconds, volume::kTrustSeconds);
  look("none", ENOENT, volume::kTrustSeconds, 0);
  broker.Change(20, mark);
  look("a", 0, 0, volume::kTrustSeconds);
  look("none", ENOENT, 0, 0);
  broker.Change(20, unmark);
  broker.Change(10, mark);
  look("a", 0, volume::kTrustSeconds, 0);
  broker.Change(10, unmark);
  look("a", 0, volume::kTrustSeconds, volume::kTrustSeconds);
}

TEST(VolumeNames, InodeNotKnownHereIsAskedFor) {
  FakeBroker broker;
  const uint32_t index = broker.AddFile(10, shm::kRootInode, "a");
  broker.Change(10, [](shm::InodeRecord* record) { record->known_by = 0; });
  PlainRequest request;
  Node node;
  EXPECT_EQ(0, broker.volume().Lookup(request, shm::kRootInode, "a", &node));
  EXPECT_EQ(1u, broker.CallsOf(shm::Op::kLookup));
  EXPECT_EQ(1u, broker.lane().Lookups(index));
  EXPECT_EQ(1u, broker.Record(10).known_by);
}

TEST(VolumeNames, BrokerThatNeverMarksTheInodeEndsInEio) {
  FakeBroker broker;
  const uint32_t index = broker.AddFile(10, shm::kRootInode, "a");
  broker.Change(10, [](shm::InodeRecord* record) { record->known_by = 0; });
  broker.OnCall([&](const shm::Call&, shm::RequestReply* reply) {
    reply->attr = broker.meta().Inode(index);
    reply->inode_index = index;
    return true;
  });
  PlainRequest request;
  Node node;
  EXPECT_EQ(EIO, broker.volume().Lookup(request, shm::kRootInode, "a", &node));
  EXPECT_EQ(0u, broker.lane().Lookups(index));
}

TEST(VolumeNames, ReplyWithAnIndexOutOfRangeIsRefused) {
  FakeBroker broker;
  broker.OnCall([](const shm::Call&, shm::RequestReply* reply) {
    reply->attr.inode = 10;
    reply->inode_index = 1u << 30;
    return true;
  });
  PlainRequest request;
  Node node;
  EXPECT_EQ(EIO, broker.volume().Lookup(request, shm::kRootInode, "a", &node));
}

TEST(VolumeNames, NamesBeyondTheLimitAreRefusedHere) {
  FakeBroker broker;
  const uint64_t popped = broker.Popped();
  const std::string name(shm::kMaxName + 1, 'n');
  PlainRequest request;
  Node node;
  EXPECT_EQ(ENAMETOOLONG, broker.volume().Lookup(request, shm::kRootInode, name, &node));
  EXPECT_EQ(ENAMETOOLONG, broker.volume().Mkdir(request, shm::kRootInode, name, 0755, &node));
  EXPECT_EQ(ENAMETOOLONG,
            broker.volume().Rename(request, shm::kRootInode, "a", shm::kRootInode, name, 0));
  EXPECT_EQ(popped, broker.Popped());
}

TEST(VolumeNames, LastForgetOfAnOrphanIsReported) {
  FakeBroker broker;
  const uint32_t index = broker.AddFile(10, shm::kRootInode, "a");
  PlainRequest request;
  Node node;
  ASSERT_EQ(0, broker.volume().Lookup(request, shm::kRootInode, "a", &node));
  ASSERT_EQ(0, broker.volume().Lookup(request, shm::kRootInode, "a", &node));
  broker.Change(10, [](shm::InodeRecord* record) { record->flags |= shm::kOrphan; });
  broker.volume().Forget(10, 1);
  EXPECT_TRUE(broker.Items().empty());
  broker.volume().Forget(10, 5);  // more than there are: stays at 0
  EXPECT_EQ(0u, broker.lane().Lookups(index));
  const auto items = broker.Items();
  ASSERT_EQ(1u, items.size());
  EXPECT_EQ(shm::QueueOp::kForget, items[0].op);
  EXPECT_EQ(10u, items[0].inode);
}

TEST(VolumeNames, ForgetOfANamedFileIsNot) {
  FakeBroker broker;
  broker.AddFile(10, shm::kRootInode, "a");
  PlainRequest request;
  Node node;
  ASSERT_EQ(0, broker.volume().Lookup(request, shm::kRootInode, "a", &node));
  broker.volume().Forget(10, 1);
  EXPECT_TRUE(broker.Items().empty());
}

TEST(VolumeNames, AttributesUnderAPassthroughWriterAreAskedFor) {
  FakeBroker broker;
  broker.AddFile(10, shm::kRootInode, "a");
  broker.Change(10, [](shm::InodeRecord* record) { record->flags |= shm::kPassthroughWriter; });
  PlainRequest request;
  Node node;
  EXPECT_EQ(0, broker.volume().Getattr(request, 10, &node));
  EXPECT_EQ(1u, broker.CallsOf(shm::Op::kGetattr));
  EXPECT_EQ(volume::kTrustSeconds, node.attr_seconds);  // the only mount
  broker.Do([&] { broker.lane().SetMounts(2); });
  EXPECT_EQ(0, broker.volume().Getattr(request, 10, &node));
  EXPECT_EQ(0u, node.attr_seconds);
}

TEST(VolumeNames, OwnersAreShownAndSentAsTheMountSays) {
  volume::VolumeOptions options;
  options.show_uid = 77;
  options.show_gid = 78;
  FakeBroker broker(options);
  broker.AddFile(10, shm::kRootInode, "a");
  PlainRequest request;
  Node node;
  ASSERT_EQ(0, broker.volume().Lookup(request, shm::kRootInode, "a", &node));
  EXPECT_EQ(77u, node.record.uid);
  EXPECT_EQ(78u, node.record.gid);
  uint32_t uid = 0;
  broker.OnCall([&](const shm::Call& call, shm::RequestReply* reply) {
    uid = call.args.uid;
    reply->error = EACCES;
    return true;
  });
  EXPECT_EQ(EACCES, broker.volume().Mkdir(request, shm::kRootInode, "d", 0755, &node));
  broker.Do([&] { EXPECT_EQ(77u, uid); });
}

TEST(VolumeNames, ReadOnlyVolumeRefusesChanges) {
  volume::VolumeOptions options;
  options.read_only = true;
  FakeBroker broker(options);
  const uint64_t popped = broker.Popped();
  PlainRequest request;
  Node node;
  EXPECT_EQ(EROFS, broker.volume().Mkdir(request, shm::kRootInode, "d", 0755, &node));
  EXPECT_EQ(EROFS, broker.volume().Unlink(request, shm::kRootInode, "d"));
  EXPECT_EQ(EROFS, broker.volume().Write(10, 0, {}));
  EXPECT_EQ(popped, broker.Popped());
}

TEST(VolumeNames, InterruptsEndNoCall) {
  FakeBroker broker;
  broker.OnCall([&](const shm::Call&, shm::RequestReply* reply) {
    broker.volume().Interrupt();
    reply->error = EPERM;
    return true;
  });
  PlainRequest request;
  request.interrupted = true;
  Node node;
  EXPECT_EQ(EPERM, broker.volume().Lookup(request, shm::kRootInode, "a", &node));
  EXPECT_EQ(EPERM, broker.volume().Unlink(request, shm::kRootInode, "a"));
}

}  // namespace
}  // namespace airstore::testing
