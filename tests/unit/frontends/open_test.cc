// SPDX-License-Identifier: Apache-2.0
//
// Opening, writing and closing.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <thread>

#include "fake_broker.h"

namespace airstore::testing {
namespace {

using volume::Opened;
using volume::OpenHandle;

constexpr uint64_t kFile = 10;

TEST(OpenHandle, SurvivesEncoding) {
  const OpenHandle handle{shm::kOpenDirect | shm::kOpenForWrite, 0x3edcba8, true, 0x3'2345'6789};
  const OpenHandle back = OpenHandle::Decode(handle.Encode());
  EXPECT_EQ(handle.mode, back.mode);
  EXPECT_EQ(handle.index, back.index);
  EXPECT_TRUE(back.local);
  EXPECT_EQ(handle.serial, back.serial);
  EXPECT_TRUE(back.for_write());
  EXPECT_EQ(shm::kOpenDirect, back.path());
}

TEST(OpenHandle, IndexThatDoesNotFitIsLeftOut) {
  for (const uint32_t index : {shm::kNoIndex, OpenHandle::kMostIndex + 1}) {
    const OpenHandle handle{shm::kOpenCached, index, false, OpenHandle::kMostSerial};
    const OpenHandle back = OpenHandle::Decode(handle.Encode());
    EXPECT_EQ(shm::kNoIndex, back.index);
    EXPECT_EQ(handle.serial, back.serial);
  }
}

TEST(VolumeOpen, SlabFileOpensWithoutTheBroker) {
  FakeBroker broker;
  const uint32_t index = broker.AddFile(kFile, shm::kRootInode, "a");
  broker.SetContent(kFile, "content");
  const uint64_t popped = broker.Popped();
  PlainRequest request;
  Opened first;
  EXPECT_EQ(0, broker.volume().Open(request, kFile, O_RDONLY, &first));
  EXPECT_TRUE(first.handle.local);
  EXPECT_FALSE(first.keep_cache);
  EXPECT_EQ(1u, broker.lane().Opens(index));
  Opened second;
  EXPECT_EQ(0, broker.volume().Open(request, kFile, O_RDONLY, &second));
  EXPECT_TRUE(second.keep_cache);
  EXPECT_EQ(2u, broker.lane().Opens(index));
  broker.volume().Release(request, kFile, first.handle);
  broker.volume().Release(request, kFile, second.handle);
  broker.volume().Release(request, kFile, second.handle);  // never below 0
  EXPECT_EQ(0u, broker.lane().Opens(index));
  EXPECT_EQ(popped, broker.Popped());
}

TEST(VolumeOpen, PagesAreDroppedWhenTheContentChanged) {
  FakeBroker broker;
  broker.AddFile(kFile, shm::kRootInode, "a");
  broker.SetContent(kFile, "content");
  PlainRequest request;
  Opened opened;
  ASSERT_EQ(0, broker.volume().Open(request, kFile, O_RDONLY, &opened));
  broker.SetContent(kFile, "changed");
  ASSERT_EQ(0, broker.volume().Open(request, kFile, O_RDONLY, &opened));
  EXPECT_FALSE(opened.keep_cache);
}

TEST(VolumeOpen, PassthroughOpensAskTheBrokerAndAreReleasedThere) {
  FakeBroker broker;
  const uint32_t index = broker.AddFile(kFile, shm::kRootInode, "a");
  broker.SetContent(kFile, "content");
  broker.Change(kFile, [](shm::InodeRecord* record) { record->flags |= shm::kPassthroughOpen; });
  broker.OnCall([&](const shm::Call& call, shm::RequestReply* reply) {
    EXPECT_EQ(static_cast<uint32_t>(O_RDWR), call.args.flags);
    reply->open_mode = shm::kOpenPassthrough;
    reply->backing_id = 3;
    reply->inode_index = index;
    return true;
  });
  PlainRequest request;
  Opened opened;
  ASSERT_EQ(0, broker.volume().Open(request, kFile, O_RDWR, &opened));
  EXPECT_EQ(3, opened.backing_id);
  EXPECT_EQ(shm::kOpenPassthrough, opened.handle.path());
  EXPECT_EQ(0u, broker.lane().Opens(index));
  broker.volume().Release(request, kFile, opened.handle);
  const auto items = broker.Items();
  ASSERT_EQ(1u, items.size());
  EXPECT_EQ(shm::QueueOp::kRelease, items[0].op);
  EXPECT_EQ(shm::kOpenPassthrough | shm::kOpenForWrite, items[0].flags);
}

// The broker marks, then looks; the frontend counts, then looks. Never may both go ahead.
TEST(VolumeOpen, LocalOpenAndPassthroughExcludeEachOther) {
  FakeBroker broker;
  const uint32_t index = broker.AddFile(kFile, shm::kRootInode, "a");
  broker.SetContent(kFile, "content");
  broker.OnCall([](const shm::Call&, shm::RequestReply* reply) {
    reply->error = EBUSY;
    return true;
  });
  std::atomic<bool> passthrough{false};
  std::atomic<bool> stop{false};
  std::atomic<int> local{0};
  std::thread opener([&] {
    PlainRequest request;
    while (!stop) {
      Opened opened;
      if (broker.volume().Open(request, kFile, O_RDONLY, &opened) != 0) continue;
      ++local;
      EXPECT_FALSE(passthrough);
      broker.volume().Release(request, kFile, opened.handle);
    }
  });
  int granted = 0;
  for (int round = 0; round < 2000 || local < 100 || granted < 100; ++round) {
    broker.Change(kFile, [](shm::InodeRecord* record) { record->flags |= shm::kPassthroughOpen; });
    if (broker.lane().Opens(index) == 0) {
      // From here on no local open can begin; one that counts itself now gives up.
      passthrough = true;
      std::this_thread::yield();
      passthrough = false;
      ++granted;
    }
    broker.Change(kFile, [](shm::InodeRecord* record) { record->flags &= ~shm::kPassthroughOpen; });
    if (round % 16 == 0) std::this_thread::yield();
  }
  stop = true;
  opener.join();
}

TEST(VolumeOpen, CreateCountsTheNodeAndTheOpen) {
  FakeBroker broker;
  uint32_t index = 0;
  broker.OnCall([&](const shm::Call& call, shm::RequestReply* reply) {
    shm::InodeRecord record{};
    record.inode = 50;
    record.mode = call.args.mode;
    record.uid = call.args.uid;
    record.known_by = 1;
    index = *broker.meta().AddInode(record);
    AIRSTORE_CHECK(
        broker.meta().AddDentry(call.args.inode, call.name, 50, S_IFREG >> 12).has_value());
    reply->attr = record;
    reply->inode_index = index;
    return true;
  });
  PlainRequest request;
  volume::Node node;
  Opened opened;
  EXPECT_EQ(0, broker.volume().Create(request, shm::kRootInode, "new", S_IFREG | 0600,
                                      O_RDWR | O_CREAT, &node, &opened));
  EXPECT_EQ(50u, node.record.inode);
  EXPECT_EQ(1000u, node.record.uid);
  broker.Do([&] { EXPECT_EQ(1u, broker.lane().Lookups(index)); });
  EXPECT_TRUE(opened.handle.for_write());
  EXPECT_FALSE(opened.handle.local);
}

TEST(VolumeOpen, WritesArriveInOrder) {
  FakeBroker broker;
  const std::string big(shm::kMaxWrite + 5000, 'b');
  const auto bytes = [](const std::string& text) {
    return std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size());
  };
  EXPECT_EQ(0, broker.volume().Write(kFile, 0, bytes(big)));
  EXPECT_EQ(0, broker.volume().Write(kFile, 3, bytes("xyz")));
  std::string expected = big;
  expected.replace(3, 3, "xyz");
  EXPECT_EQ(expected, broker.Written(kFile));
  EXPECT_EQ(EFBIG, broker.volume().Write(kFile, ~0ull >> 1, bytes("xyz")));
}

// A broker that died while it wrote the record has left it so: there may be a lock.
TEST(VolumeOpen, ClosesAreToldWhileTheRecordCannotBeRead) {
  FakeBroker broker;
  const uint32_t index = broker.AddFile(kFile, shm::kRootInode, "a");
  const OpenHandle handle{shm::kOpenCached, index, false, 1};
  PlainRequest request;
  EXPECT_EQ(0, broker.volume().Flush(request, kFile, handle, 5));
  broker.volume().Release(request, kFile, handle);
  EXPECT_EQ(0u, broker.CallsOf(shm::Op::kFlushLocks));
  EXPECT_EQ(0u, broker.CallsOf(shm::Op::kReleaseLocks));
  broker.Do([&] {
    const auto& geometry = broker.meta().reader().view().geometry();
    auto* entries = broker.meta().segment().At<shm::InodeEntry>(geometry.inodes_offset);
    entries[index].sequence.fetch_add(1);
  });
  EXPECT_EQ(0, broker.volume().Flush(request, kFile, handle, 5));
  broker.volume().Release(request, kFile, handle);
  EXPECT_EQ(1u, broker.CallsOf(shm::Op::kFlushLocks));
  EXPECT_EQ(1u, broker.CallsOf(shm::Op::kReleaseLocks));
}

TEST(VolumeOpen, FlushReportsAFailedWriteBackOnlyToWriters) {
  FakeBroker broker;
  broker.AddFile(kFile, shm::kRootInode, "a");
  PlainRequest request;
  const OpenHandle writer{shm::kOpenForWrite, 0, false};
  const uint64_t popped = broker.Popped();
  EXPECT_EQ(0, broker.volume().Flush(request, kFile, writer, 0));
  EXPECT_EQ(popped, broker.Popped());
  broker.Change(kFile, [](shm::InodeRecord* record) { record->write_error = EDQUOT; });
  broker.OnCall([](const shm::Call&, shm::RequestReply* reply) {
    reply->error = EDQUOT;
    return true;
  });
  EXPECT_EQ(0, broker.volume().Flush(request, kFile, {}, 0));
  EXPECT_EQ(EDQUOT, broker.volume().Flush(request, kFile, writer, 0));
}

}  // namespace
}  // namespace airstore::testing
